use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use millrace_error::{Code, Error, Result};
use parking_lot::Mutex;

/// Called once with what came of it, on the runtime of the connection or on the caller's thread. It
/// must not block.
pub(crate) type Then<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// How much of what was written is held, in bytes, before a program is to wait.
const HELD: usize = 64 * 1024;

/// A connection, for a program on whatever thread. Each thing that is asked for calls back once; of
/// each there is one at a time, and an earlier one fails. Cheap to clone.
#[derive(Clone, Default)]
pub struct StreamHandle(pub(crate) Arc<Mutex<Asked>>);

/// What the program wants.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) read: Option<Then<Option<Bytes>>>,
    /// What was written and is not on its way yet.
    pub(crate) output: BytesMut,
    /// What was written and has not gone out, on its way or not.
    pub(crate) held: usize,
    pub(crate) room: Option<Then<()>>,
    pub(crate) end: Option<Then<()>>,
    pub(crate) ended: Option<Then<()>>,
    pub(crate) draining: Option<Box<dyn FnOnce(bool) + Send>>,
    pub(crate) closing: Option<Closing>,
    /// Of the task that has the stream.
    pub(crate) waker: Option<Waker>,
    /// Why nothing can be asked for any more.
    pub(crate) over: Option<Over>,
}

impl Asked {
    pub(crate) fn has_room(&self) -> bool {
        self.held < HELD
    }
}

/// How a connection is to end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// When what was written has gone out.
    Plain,
    Reset,
}

/// The end of a connection. An error is made anew for each who asks.
#[derive(Clone)]
pub(crate) struct Over {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Over {
    /// Both sides have ended theirs, or the program did not want it any more.
    pub(crate) fn as_wanted(why: &str) -> Self {
        Over { code: Code::Internal, message: why.to_owned() }
    }

    fn is_failure(&self) -> bool {
        self.code != Code::Internal
    }

    fn error(&self) -> Error {
        Error::new(self.code, self.message.clone())
    }
}

impl StreamHandle {
    /// Asks for the next bytes: at least one, or none at the end. Nothing is read ahead.
    pub fn read(&self, then: impl FnOnce(Result<Option<Bytes>>) + Send + 'static) {
        self.ask(|asked| &mut asked.read, Box::new(then));
    }

    /// Writes bytes, which are held until they have gone out. False asks to wait for [`room`] before
    /// more is written: 64 KiB are held, or the connection is over.
    ///
    /// [`room`]: StreamHandle::room
    pub fn write(&self, data: &[u8]) -> bool {
        let mut asked = self.0.lock();
        if asked.over.is_some() || asked.closing.is_some() {
            return false;
        }
        asked.output.extend_from_slice(data);
        asked.held += data.len();
        wake(&mut asked);
        asked.has_room()
    }

    /// Calls back when more may be written, at once if it may.
    pub fn room(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.ask(|asked| &mut asked.room, Box::new(then));
    }

    /// Ends this side of the connection, after what was written; the other goes on.
    pub fn end(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.ask(|asked| &mut asked.end, Box::new(then));
    }

    /// Calls back when the connection is over: with an error where that was not the program's doing, and
    /// it has not ended on both sides.
    pub fn when_ended(&self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.ask(|asked| &mut asked.ended, Box::new(then));
    }

    /// Calls `then` with true when the server begins to close, at once if it has; with false when the
    /// connection ends before.
    pub fn when_draining(&self, then: impl FnOnce(bool) + Send + 'static) {
        let then: Box<dyn FnOnce(bool) + Send> = Box::new(then);
        let not_waited_for = {
            let mut asked = self.0.lock();
            match asked.over {
                Some(_) => Some(then),
                None => {
                    let earlier = asked.draining.replace(then);
                    wake(&mut asked);
                    earlier
                }
            }
        };
        if let Some(then) = not_waited_for {
            then(false);
        }
    }

    /// Closes the connection: what was written goes out, and nothing else happens any more. A client
    /// that takes nothing of it for half a minute is reset; and so it is, by the system, where bytes
    /// of it were not read.
    pub fn close_now(&self) {
        self.end_by(Closing::Plain);
    }

    /// Ends the connection at once, by a reset.
    pub fn abort(&self) {
        self.end_by(Closing::Reset);
    }

    fn end_by(&self, how: Closing) {
        let mut asked = self.0.lock();
        asked.closing.get_or_insert(how);
        wake(&mut asked);
    }

    fn ask<T>(&self, place: impl FnOnce(&mut Asked) -> &mut Option<Then<T>>, then: Then<T>) {
        let (earlier, refused) = {
            let mut asked = self.0.lock();
            match asked.over.as_ref().map(Over::error) {
                Some(error) => (None, Some((then, error))),
                None => {
                    let earlier = place(&mut asked).replace(then);
                    wake(&mut asked);
                    (earlier, None)
                }
            }
        };
        if let Some(then) = earlier {
            then(Err(twice()));
        }
        if let Some((then, error)) = refused {
            then(Err(error));
        }
    }

    /// Nothing can be asked for any more; tells all who wait.
    pub(crate) fn close(&self, over: Over) {
        let (read, room, end, draining, ended) = {
            let mut asked = self.0.lock();
            if asked.over.is_some() {
                return;
            }
            asked.over = Some(over.clone());
            asked.waker = None;
            asked.output = BytesMut::new();
            let Asked { read, room, end, draining, ended, .. } = &mut *asked;
            (read.take(), room.take(), end.take(), draining.take(), ended.take())
        };
        if let Some(then) = ended {
            then(if over.is_failure() { Err(over.error()) } else { Ok(()) });
        }
        if let Some(then) = draining {
            then(false);
        }
        if let Some(then) = read {
            then(Err(over.error()));
        }
        for then in room.into_iter().chain(end) {
            then(Err(over.error()));
        }
    }
}

impl fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHandle").finish_non_exhaustive()
    }
}

fn wake(asked: &mut Asked) {
    if let Some(waker) = asked.waker.take() {
        waker.wake();
    }
}

fn twice() -> Error {
    Error::new(Code::Internal, "the same was asked for twice at once")
}
