use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_error::Level;
use millrace_listeners::ListeningSocket;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::socket::UpgradeSocket;
use super::wire::{Channel, GO, HELLO, READY, REFUSED, SERVES, VERSION, unexpected};
use crate::server::Means;

/// Until a socket that could not be accepted is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Offers the sockets of a server to whoever is to succeed it.
pub(super) struct Offer<'a> {
    means: &'a Means,
    socket: UpgradeSocket,
    /// Whether another process has the sockets, and may go on with them whatever comes.
    is_given: Cell<bool>,
}

/// The sockets of a server, with what says that they are another's too.
struct Shared {
    sockets: Vec<ListeningSocket>,
    sharing: Vec<Arc<AtomicBool>>,
}

impl<'a> Offer<'a> {
    pub(super) fn new(means: &'a Means, socket: UpgradeSocket) -> Self {
        Offer { means, socket, is_given: Cell::new(false) }
    }

    /// Until there is a successor, or the server drains for another reason: then false.
    pub(super) async fn run(self) -> bool {
        let shutdown = self.means.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                () = shutdown.draining() => return false,
                accepted = self.socket.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            let offered = tokio::select! {
                biased;
                offered = self.offer(stream) => offered,
                () = shutdown.draining() => {
                    // The other sees that this one has ended, and goes on with what it has.
                    if self.is_given.get() {
                        self.socket.disown();
                    }
                    return false;
                }
            };
            self.is_given.set(false);
            match offered {
                Ok(true) => return true,
                // Whoever starts where this one runs looks whether it does, and says nothing.
                Ok(false) => {
                    self.log(Level::Debug, "somebody was at the upgrade socket, and asked nothing");
                }
                Err(error) => {
                    self.log(Level::Warn, &format!("an upgrade failed, going on: {error}"));
                }
            }
        }
    }

    /// Makes the process at the other end the successor, if it says that it wants to be.
    async fn offer(&self, stream: UnixStream) -> io::Result<bool> {
        let (mut channel, process) = match Channel::over(stream) {
            // Some systems do not tell who it was that has left.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            other => other?,
        };
        let process = process.map_or("?".to_owned(), |process| process.to_string());
        let hello = match timeout(PATIENCE, channel.receive()).await {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) | Err(_) => return Ok(false),
            Ok(Err(error)) => return Err(error),
        };
        if hello.kind != HELLO || hello.payload != [VERSION] {
            refuse(&mut channel, "the running server is of another version").await;
            return Err(unexpected());
        }
        let Some(shared) = self.share()? else {
            refuse(&mut channel, "the running server is about to end").await;
            return Err(io::Error::other("the server is about to end"));
        };
        self.log(Level::Info, &format!("process {process} is about to take over"));
        timeout(PATIENCE, channel.send_sockets(&shared.sockets)).await.map_err(late)??;
        shared.say(|_| true);
        self.is_given.set(true);
        let taken = match timeout(self.means.options.timeout, channel.receive()).await {
            Ok(Ok(Some(ready))) if ready.kind == READY => ready.places(),
            other => {
                shared.say(|_| false);
                let error = match other {
                    Ok(Ok(Some(_))) => unexpected(),
                    Ok(Ok(None)) => left(),
                    Ok(Err(error)) => error,
                    Err(elapsed) => late(elapsed),
                };
                refuse(&mut channel, "the running server has waited for too long").await;
                return Err(io::Error::new(error.kind(), format!("process {process}: {error}")));
            }
        };
        shared.say(|place| taken.contains(&place));
        self.socket.disown();
        // One that has lost its patience has left, and has said before that it serves.
        let _ = channel.send(GO, &[], &[]).await;
        match timeout(PATIENCE, channel.receive()).await {
            Ok(Ok(Some(serves))) if serves.kind == SERVES => {
                self.log(Level::Info, &format!("process {process} has taken over"));
            }
            // It may have the word, and accept whenever it comes to itself.
            Err(_) => {
                let line = format!("process {process} has taken over, but does not say so");
                self.log(Level::Warn, &line);
            }
            Ok(other) => {
                shared.say(|_| false);
                self.socket.own();
                let error = match other {
                    Ok(Some(_)) => unexpected(),
                    Ok(None) => {
                        io::Error::new(io::ErrorKind::UnexpectedEof, "it died when it was ready")
                    }
                    Err(error) => error,
                };
                return Err(io::Error::new(error.kind(), format!("process {process}: {error}")));
            }
        }
        Ok(true)
    }

    /// The upgrade socket and those of the services, if they run.
    fn share(&self) -> io::Result<Option<Shared>> {
        let Some(found) = self.means.sockets() else { return Ok(None) };
        let (sockets, sharing): (Vec<_>, Vec<_>) = found?.into_iter().unzip();
        let mut all = vec![self.socket.share()?];
        all.extend(sockets);
        Ok(Some(Shared { sockets: all, sharing }))
    }

    fn log(&self, level: Level, line: &str) {
        self.means.log.log(level, line);
    }
}

impl Shared {
    /// Which of them another process has, by their places behind the upgrade socket.
    fn say(&self, is_shared: impl Fn(usize) -> bool) {
        for (place, sharing) in self.sharing.iter().enumerate() {
            sharing.store(is_shared(place), Ordering::SeqCst);
        }
    }
}

/// Tells why, to one that may have gone.
async fn refuse(channel: &mut Channel, why: &str) {
    let _ = timeout(PATIENCE, channel.send(REFUSED, why.as_bytes(), &[])).await;
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it was not ready in time")
}

fn left() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it left before it was ready")
}
