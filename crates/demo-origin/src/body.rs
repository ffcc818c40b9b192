use std::io;

use bytes::Bytes;
use millrace_http1::{BodyDecoder, Decoded};

use crate::connection::Connection;

/// More than this is not echoed.
pub(crate) const MAX_BODY: u64 = 1024 * 1024 * 1024;

/// A request's body as it arrives.
pub(crate) struct Incoming {
    decoder: BodyDecoder,
    left: u64,
}

impl Incoming {
    pub(crate) fn new(decoder: BodyDecoder) -> Self {
        Incoming { decoder, left: MAX_BODY }
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self, from: &mut Connection<'_>) -> io::Result<Option<Bytes>> {
        loop {
            match self.decoder.decode(&mut from.input).map_err(io::Error::other)? {
                Decoded::Data(data) => {
                    let left = self.left.checked_sub(data.len() as u64);
                    self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
                    return Ok(Some(data));
                }
                Decoded::Trailers(_) => {}
                Decoded::End => return Ok(None),
                Decoded::NeedMore => {
                    if !from.fill().await? {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}
