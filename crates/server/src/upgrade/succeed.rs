use std::io::{self, ErrorKind};
use std::path::Path;

use millrace_error::{Level, Log};
use millrace_listeners::Inherited;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::socket::UpgradeSocket;
use super::wire::{Channel, GO, HELLO, READY, REFUSED, VERSION, places, unexpected};

/// The process that this one is to replace.
pub(super) struct Predecessor {
    channel: Channel,
    process: String,
}

impl Predecessor {
    /// Asks the process at an upgrade socket for its sockets; none if there is no such process.
    pub(super) async fn find(path: &Path) -> io::Result<Option<(Self, UpgradeSocket, Inherited)>> {
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if nobody(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut channel, process) = Channel::over(stream)?;
        let sockets = async {
            channel.send(HELLO, &[VERSION], &[]).await?;
            channel.receive_sockets().await
        };
        let late = |_| Err(ErrorKind::TimedOut.into());
        let mut sockets = timeout(PATIENCE, sockets).await.unwrap_or_else(late)?;
        if sockets.is_empty() {
            return Err(unexpected());
        }
        let own = UpgradeSocket::inherit(path, sockets.remove(0))?;
        let process = process.map_or("?".to_owned(), |process| process.to_string());
        Ok(Some((Predecessor { channel, process }, own, Inherited::new(sockets))))
    }

    /// Says that this process serves, on these of the sockets, and waits until the other has heard.
    pub(super) async fn replace(mut self, taken: &[usize], log: &dyn Log) -> io::Result<()> {
        let answer = async {
            // Whether it still listens or not, it may have said something.
            let _ = self.channel.send(READY, &places(taken), &[]).await;
            self.channel.receive().await
        };
        let process = &self.process;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Some(message))) if message.kind == GO => {
                log.log(Level::Info, &format!("took over from process {process}"));
                Ok(())
            }
            Ok(Ok(Some(message))) if message.kind == REFUSED => Err(message.refusal()),
            Ok(Ok(Some(_))) => Err(unexpected()),
            // It has gone by itself, or hangs: either way somebody has to serve.
            Ok(Ok(None) | Err(_)) => {
                log.log(Level::Warn, &format!("process {process} ended before it was told to"));
                Ok(())
            }
            Err(_) => {
                log.log(Level::Warn, &format!("process {process} does not answer; it may go on"));
                Ok(())
            }
        }
    }
}

/// Whether nobody listens there.
fn nobody(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}
