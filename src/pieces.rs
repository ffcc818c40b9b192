//! Pieces of bodies and of streams, as they are handed to JavaScript one by one.

use bytes::Bytes;
use millrace_error::{Error, Result};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

/// A piece, or why there is none; without both: the end.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativePiece {
    pub data: Option<Buffer>,
    /// Code, source, whether a retry is safe, status and message of an error, by lines.
    pub error: Option<String>,
}

impl From<Result<Option<Bytes>>> for NativePiece {
    fn from(outcome: Result<Option<Bytes>>) -> Self {
        match outcome {
            Ok(data) => NativePiece { data: data.map(|data| data.to_vec().into()), error: None },
            Err(error) => NativePiece { data: None, error: Some(words(&error)) },
        }
    }
}

/// An error by lines.
pub(crate) fn words(error: &Error) -> String {
    let (code, source) = (error.code().as_str(), error.source().as_str());
    let retry = u8::from(error.can_retry());
    format!("{code}\n{source}\n{retry}\n{}\n{}", error.status(), error.reason())
}
