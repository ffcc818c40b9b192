//! Fields after the body.

use httparse::Status;
use millrace_message::{Fields, allowed_in_trailers};

use crate::ParseError::{self, BadRequest, TooLarge};
use crate::lines::fields;

/// Bytes of all trailers with the empty line.
const MAX_BYTES: usize = 8 * 1024;
/// Number of trailers.
const MAX_FIELDS: usize = 64;

/// The trailers that `buf` begins with, and the bytes they take with the empty line at their end.
/// Those that may not be trailers are left out (RFC 9110 §6.5.1).
pub(crate) fn parse_trailers(buf: &[u8]) -> Result<Option<(Fields, usize)>, ParseError> {
    let window = &buf[..buf.len().min(MAX_BYTES)];
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(window, &mut headers) {
        Ok(Status::Complete((length, headers))) => {
            let mut fields = fields(window, length, headers)?;
            fields.retain(|name, _| allowed_in_trailers(name));
            Ok(Some((fields, length)))
        }
        Ok(Status::Partial) if window.len() == MAX_BYTES => Err(TooLarge("trailers")),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(TooLarge("too many trailers")),
        Err(_) => Err(BadRequest("a trailer is not valid")),
    }
}
