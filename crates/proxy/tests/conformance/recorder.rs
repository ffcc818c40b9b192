//! An origin that keeps what it gets, and gives each message an answer of its own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::strict::{Framed, Message, Reader};

pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Whole messages, or what is none.
    messages: Vec<Message>,
    /// How many began and did not end.
    cut: usize,
}

impl Recorder {
    pub(crate) fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let keep = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, keep) = (stream.unwrap(), keep.clone());
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let mut reader = Reader::new(stream.try_clone().unwrap(), move |head| {
                        if head.contains("\r\nexpect: 100-continue\r\n") {
                            let _ = writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                        }
                        Framed::ByHead
                    });
                    loop {
                        let message = reader.next();
                        let head = match &message {
                            Message::End => return,
                            Message::Cut(_) => return keep.lock().unwrap().cut += 1,
                            Message::Garbage(_) => "",
                            Message::Whole(text) => text,
                        };
                        let body = if head.starts_with("HEAD ") { "" } else { "ok" };
                        let number = {
                            let messages = &mut keep.lock().unwrap().messages;
                            messages.push(message);
                            messages.len() - 1
                        };
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nX-Number: {number}\r\nContent-Length: 2\r\n\r\n{body}"
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Recorder { address, seen }
    }

    /// How many messages have come.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().messages.len()
    }

    /// How many were cut off.
    pub(crate) fn cut(&self) -> usize {
        self.seen.lock().unwrap().cut
    }

    /// The messages from the given one on.
    pub(crate) fn since(&self, first: usize) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let show = |message: &Message| match message {
            Message::Whole(text) => text.clone(),
            other => format!("{other:?}"),
        };
        seen.messages[first..].iter().map(show).collect()
    }
}
