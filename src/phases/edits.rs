//! What JavaScript changes, and its answers.

use bytes::Bytes;
use millrace_error::Result;
use millrace_proxy::Answer;
use millrace_records::answer_head;

pub(super) use millrace_records::{edit_request, edit_response, edit_trailers};

/// An answer of a phase.
pub(super) fn answer(status: i32, fields: &[u8], body: Bytes) -> Result<Answer> {
    let head = answer_head(status, fields)?;
    Ok(Answer { head, body, stream: None })
}
