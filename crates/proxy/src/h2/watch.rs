//! What ends a connection while it is served: its client's faults, and time.

use std::task::Context;

use h2::Reason;
use millrace_error::{Code, Error, Source};
use tokio::time::Instant;

use super::connection::{H2Connection, Server};
use super::frames::Frames;
use super::pings::{Liveness, after, passed};
use crate::HttpServerApp;

impl<A: HttpServerApp> H2Connection<A> {
    /// Looks at all that may end the connection; whether `h2` has something to do because of it.
    pub(super) fn check(&mut self, cx: &mut Context<'_>, h2: &mut Server) -> bool {
        if self.is_final {
            return false;
        }
        let now = Instant::now();
        if let Some((reason, error)) = self.find_fault(cx, now) {
            self.shared.frames.lock().closes_at_once = error.code() == Code::WriteTimeout;
            self.log_fault(error);
            return self.end(h2, reason);
        }
        let is_idle = self.is_idle(h2);
        let is_over = passed(self.closing, now)
            || (self.closing.is_some() && self.shutdown.is_cut())
            || self.shared.input_ended()
            || passed(after(self.idle_since, self.options.keep_alive_timeout), now);
        if is_idle && is_over {
            self.shared.frames.lock().closes_at_once = true;
            return self.end(h2, Reason::NO_ERROR);
        }
        let last_read = self.shared.frames.lock().last_read;
        match self.pings.as_mut().map(|pings| pings.poll(cx, &self.options, last_read, now)) {
            // A client that has ended its side cannot answer.
            _ if self.shared.input_ended() => false,
            Some(Liveness::Sent) => true,
            Some(Liveness::Dead) => {
                self.shared.frames.lock().closes_at_once = true;
                self.end(h2, Reason::NO_ERROR)
            }
            _ => false,
        }
    }

    /// What the client has done that ends the connection, and what it is told.
    fn find_fault(&self, cx: &Context<'_>, now: Instant) -> Option<(Reason, Error)> {
        let bad = |why: &'static str| Error::new(Code::BadRequest, why);
        let late = |why: &'static str| Error::new(Code::RequestTimeout, why);
        let frames = self.shared.frames.lock();
        let calm = Reason::ENHANCE_YOUR_CALM;
        if frames.is_broken {
            return Some((Reason::PROTOCOL_ERROR, bad("the client sent no settings")));
        }
        if frames.is_flooded {
            return Some((calm, bad("too many frames that carry nothing")));
        }
        if passed(self.head_deadline(&frames), now) {
            return Some((calm, late("the head took too long")));
        }
        if passed(self.settings_deadline(&frames), now) {
            return Some((Reason::SETTINGS_TIMEOUT, late("the settings took too long")));
        }
        if passed(self.write_deadline(&frames), now) {
            let error = Error::new(Code::WriteTimeout, "the client took its responses too slowly");
            return Some((Reason::NO_ERROR, error.from_source(Source::Downstream)));
        }
        drop(frames);
        self.shared.is_abused(cx.waker()).then(|| (calm, bad("too many streams were reset")))
    }

    fn head_deadline(&self, frames: &Frames) -> Option<Instant> {
        after(frames.block_since?, self.options.request_header_timeout)
    }

    fn settings_deadline(&self, frames: &Frames) -> Option<Instant> {
        let limit = self.options.request_header_timeout.filter(|_| !frames.has_settings);
        after(self.info.accepted, limit)
    }

    /// Until when the client may take nothing of what waits for it. A response that is over for its
    /// stream may wait in `h2` for the socket, or for a window that the client has made smaller.
    fn write_deadline(&self, frames: &Frames) -> Option<Instant> {
        frames.blocked_until.or_else(|| after(frames.waits_since()?, self.options.write_timeout))
    }

    pub(super) fn is_idle(&self, h2: &Server) -> bool {
        self.streams.is_empty() && !h2.has_streams()
    }

    /// When to look again, if nothing happens.
    pub(super) fn deadline(&self, h2: &Server) -> Option<Instant> {
        let options = &self.options;
        if self.is_final {
            return self.closing;
        }
        let idle =
            self.is_idle(h2).then(|| after(self.idle_since, options.keep_alive_timeout)).flatten();
        let frames = self.shared.frames.lock();
        let ping = self.pings.as_ref().filter(|_| !self.shared.input_ended());
        let ping = ping.and_then(|pings| pings.deadline(options, frames.last_read));
        let head = self.head_deadline(&frames);
        let settings = self.settings_deadline(&frames);
        let write = self.write_deadline(&frames);
        let closing = self.closing.filter(|_| self.is_idle(h2));
        [head, settings, write, idle, ping, closing].into_iter().flatten().min()
    }
}
