//! The bytes that go between this side and the one that runs the phases: what is told of a head, and
//! what comes back, as records and as edits. Pure: the buffers they lie in are the binding's.

mod edits;
mod fields;
mod record;

pub use edits::{answer_head, edit_request, edit_response, edit_trailers};
pub use fields::write_fields;
pub use record::{INTS, Outcome, Output, Record, Reply};
