use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::ProxyOptions;

/// Signs of life that the client is asked for.
pub(super) struct Pings {
    inner: PingPong,
    sent: Option<Instant>,
}

pub(super) enum Liveness {
    /// There is nothing to do.
    Fine,
    /// One was asked for.
    Sent,
    /// None came in time.
    Dead,
}

impl Pings {
    pub(super) fn new(inner: PingPong) -> Self {
        Pings { inner, sent: None }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        options: &ProxyOptions,
        last_read: Instant,
        now: Instant,
    ) -> Liveness {
        if self.sent.is_some() && self.inner.poll_pong(cx).is_ready() {
            self.sent = None;
        }
        match (self.deadline(options, last_read), self.sent) {
            (Some(deadline), _) if deadline > now => Liveness::Fine,
            (Some(_), Some(_)) => Liveness::Dead,
            (Some(_), None) => {
                self.sent = Some(now);
                // Fails only where the connection is no longer there, which others find out.
                let _ = self.inner.send_ping(Ping::opaque());
                // Asked for once, to be woken by it.
                let _ = self.inner.poll_pong(cx);
                Liveness::Sent
            }
            (None, _) => Liveness::Fine,
        }
    }

    pub(super) fn deadline(&self, options: &ProxyOptions, last_read: Instant) -> Option<Instant> {
        match self.sent {
            Some(sent) => after(sent, Some(options.http2.ping_timeout)),
            None => after(last_read, options.http2.ping_interval),
        }
    }
}

/// The end of a time that may be too long to have one.
pub(super) fn after(start: Instant, limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| start.checked_add(limit))
}

/// Whether there is an end, and it is behind us.
pub(super) fn passed(end: Option<Instant>, now: Instant) -> bool {
    end.is_some_and(|end| end <= now)
}
