//! Words, and options as `name=value`.

use std::{io, net::SocketAddr, str::FromStr, time::Duration};

use crate::invalid;

pub struct Args {
    words: Vec<String>,
    options: Vec<(String, String)>,
}

impl Args {
    pub fn read(args: impl Iterator<Item = String>) -> io::Result<Self> {
        let (mut words, mut options) = (Vec::new(), Vec::new());
        for arg in args {
            match arg.split_once('=') {
                Some((name, value)) => options.push((name.to_owned(), value.to_owned())),
                None => words.push(arg),
            }
        }
        Ok(Args { words, options })
    }

    pub fn command(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub fn word(&self, at: usize) -> io::Result<&str> {
        self.words.get(at).map(String::as_str).ok_or_else(|| invalid("an argument is missing"))
    }

    /// The address after the command.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.word(1)?.parse().map_err(|_| invalid("not an address"))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn number<N: FromStr>(&self, name: &str) -> io::Result<N> {
        let value = self.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| invalid(&format!("{name} is to be a number")))
    }

    pub fn millis(&self, name: &str) -> io::Result<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    /// The processes of the subject.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let list = self.get("pids").unwrap_or_default().split(',');
        list.map(|pid| pid.parse().map_err(|_| invalid("pids is to be a list of numbers")))
            .collect()
    }
}
