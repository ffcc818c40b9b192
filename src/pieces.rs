//! Pieces of bodies and of streams, as they are handed to JavaScript one by one.

use bytes::Bytes;
use millrace_error::{Error, Result};
use millrace_proxy::RequestPiece;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

/// A piece, or why there is none; without both: the end.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativePiece {
    pub data: Option<Buffer>,
    /// True where it is known that nothing comes behind it.
    pub is_last: Option<bool>,
    /// Code, source, whether a retry is safe, status and message of an error, by lines.
    pub error: Option<String>,
}

impl From<Result<Option<Bytes>>> for NativePiece {
    fn from(outcome: Result<Option<Bytes>>) -> Self {
        match outcome {
            Ok(data) => {
                let data = data.map(|data| data.to_vec().into());
                NativePiece { data, ..NativePiece::default() }
            }
            Err(error) => NativePiece { error: Some(words(&error)), ..NativePiece::default() },
        }
    }
}

impl From<Result<Option<RequestPiece>>> for NativePiece {
    fn from(outcome: Result<Option<RequestPiece>>) -> Self {
        let is_last = matches!(&outcome, Ok(Some(piece)) if piece.is_last).then_some(true);
        let data = outcome.map(|piece| piece.map(|piece| piece.data));
        NativePiece { is_last, ..NativePiece::from(data) }
    }
}

impl NativePiece {
    /// What came of something that has no bytes to give.
    pub(crate) fn done(outcome: Result<()>) -> Self {
        NativePiece { error: outcome.err().map(|error| words(&error)), ..NativePiece::default() }
    }
}

/// An error by lines.
pub(crate) fn words(error: &Error) -> String {
    let (code, source) = (error.code().as_str(), error.source().as_str());
    let retry = u8::from(error.can_retry());
    format!("{code}\n{source}\n{retry}\n{}\n{}", error.status(), error.reason())
}
