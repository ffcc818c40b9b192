use std::io::{self, ErrorKind};
use std::path::Path;

use millrace_error::{Level, Log};
use millrace_listeners::Inherited;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::socket::UpgradeSocket;
use super::wire::{Channel, GO, HELLO, READY, REFUSED, SERVES, VERSION, places, unexpected};

/// Times that a process is looked for where one leaves as it is asked.
const TRIES: usize = 3;

/// What a predecessor says of itself.
pub(super) enum News {
    /// It has ended.
    Gone,
    /// It goes on, and waits for this process no more.
    Refusal(io::Error),
}

/// What a process hands over: itself, its upgrade socket and the sockets of its services.
pub(super) type Found = (Predecessor, UpgradeSocket, Inherited);

/// The process that this one is to replace.
pub(super) struct Predecessor {
    channel: Channel,
    process: String,
}

impl Predecessor {
    /// Asks the process at an upgrade socket for its sockets; none if there is no such process.
    pub(super) async fn find(path: &Path) -> io::Result<Option<Found>> {
        let mut last = ErrorKind::UnexpectedEof.into();
        for _ in 0..TRIES {
            let stream = match UnixStream::connect(path).await {
                Ok(stream) => stream,
                Err(error) if nobody(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            match Self::ask(path, stream).await {
                // It has ended meanwhile, or another has taken over from it.
                Err(error) if left(&error) => last = error,
                found => return found.map(Some),
            }
        }
        Err(last)
    }

    async fn ask(path: &Path, stream: UnixStream) -> io::Result<Found> {
        let (mut channel, listener) = Channel::over(stream)?;
        let sockets = async {
            channel.send(HELLO, &[VERSION], &[]).await?;
            channel.receive_sockets().await
        };
        let (mut sockets, process) = timeout(PATIENCE, sockets).await.map_err(|_| silent())??;
        if sockets.is_empty() {
            return Err(unexpected());
        }
        let own = UpgradeSocket::inherit(path, sockets.remove(0))?;
        let told = process.map(|process| process.to_string());
        let listener = || listener.map(|process| process.to_string());
        let process = told.or_else(listener).unwrap_or_else(|| "?".to_owned());
        Ok((Predecessor { channel, process }, own, Inherited::new(sockets)))
    }

    /// What it says before this process is ready.
    pub(super) async fn news(&mut self) -> News {
        match self.channel.receive().await {
            Ok(Some(message)) if message.kind == REFUSED => News::Refusal(message.refusal()),
            Ok(Some(_)) => News::Refusal(unexpected()),
            Err(error) if error.kind() == ErrorKind::InvalidData => News::Refusal(error),
            Ok(None) | Err(_) => News::Gone,
        }
    }

    /// Logs that it has ended by itself.
    pub(super) fn has_ended(&self, log: &dyn Log) {
        let process = &self.process;
        log.log(Level::Warn, &format!("process {process} ended before it was told to"));
    }

    /// Says that this process is ready to serve on these of the sockets, waits for the word, and
    /// has it `own` them.
    pub(super) async fn replace(
        mut self,
        taken: &[usize],
        log: &dyn Log,
        own: impl FnOnce(),
    ) -> io::Result<()> {
        let answer = async {
            // Whether it still listens or not, it may have said something.
            let _ = self.channel.send(READY, &places(taken), &[]).await;
            self.channel.receive().await
        };
        let process = &self.process;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Some(message))) if message.kind == GO => {
                log.log(Level::Info, &format!("took over from process {process}"));
            }
            Ok(Ok(Some(message))) if message.kind == REFUSED => return Err(message.refusal()),
            Ok(Ok(Some(_))) => return Err(unexpected()),
            Ok(Ok(None) | Err(_)) => self.has_ended(log),
            // Somebody has to serve. Should it wake up it finds what is said below, and ends.
            Err(_) => {
                let line =
                    format!("process {process} does not answer; it will end if it comes back");
                log.log(Level::Warn, &line);
            }
        }
        own();
        let _ = self.channel.send(SERVES, &[], &[]).await;
        Ok(())
    }
}

/// Whether nobody listens there.
fn nobody(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Whether the other side has gone while it was asked.
fn left(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe)
}

fn silent() -> io::Error {
    let why = "the process there does not answer: it hangs, or another is about to take over";
    io::Error::new(ErrorKind::TimedOut, why)
}
