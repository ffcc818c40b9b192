//! What a try of an upstream came to, and whether another may follow one that failed.

use std::sync::Arc;

use millrace_connectors::Peer;
use millrace_error::{Error, Source};
use millrace_message::ResponseHead;

use crate::relay::Download;
use crate::upload::Upload;
use crate::upstream::Upstream;
use crate::{Answer, BodySize, Exchange};

/// Why a try ended without a response.
pub(crate) enum Failed {
    /// No connection: nothing was sent.
    Connect(Error),
    /// Something failed after the connection was there. `replace` = a reused connection that died
    /// before any answer, and the request may be sent again on a new one without asking.
    While { error: Error, replace: bool },
    /// No other try would help: the client left.
    Fatal(Error),
}

impl Failed {
    /// A phase failed after the connection was there; `safe` = another try may be made.
    pub(crate) fn phase(error: Error, safe: bool) -> Self {
        match error.source() {
            Source::Downstream => Failed::Fatal(error),
            _ => Failed::While { error: error.retry(safe), replace: false },
        }
    }
}

/// What the tries came to.
#[allow(clippy::large_enum_variant)] // made once for a request and taken apart at once
pub(crate) enum Outcome {
    Received(Received, Download),
    /// A response filter answers in the origin's place.
    Answered(Answer),
}

/// A try that got its response.
pub(crate) struct Received {
    pub(crate) peer: Arc<Peer>,
    pub(crate) up: Upstream,
    pub(crate) head: ResponseHead,
    pub(crate) size: BodySize,
}

/// The origin failed before its response was there.
pub(crate) fn given_up(ex: &Exchange, up: &Upstream, upload: &Upload, error: Error) -> Failed {
    // An error may itself say that the origin has not touched the request.
    let untouched = error.can_retry() || !up.sent_any();
    let safe = untouched || ex.request.method.is_idempotent();
    let safe = safe && upload.can_replay();
    let replace = safe && up.was_stale(&error);
    Failed::While { error: error.retry(safe), replace }
}

/// Whether another try is as good as the first, once something may have reached the origin. Of a
/// CONNECT nothing has before its tunnel is open.
pub(crate) fn is_repeatable(ex: &Exchange, upload: &Upload) -> bool {
    (ex.is_connect() || ex.request.method.is_idempotent()) && upload.can_replay()
}
