//! HTTP/1.1 on the wire, without sockets: heads in and out, framing, chunked bodies.
//!
//! `httparse` knows the grammar; this crate refuses what it leaves to its callers. The rule behind
//! every refusal: a message that another implementation might read differently never gets past
//! this one (RFC 9112 §6 and §11.2), and all that leaves is written anew from parsed parts.

mod body;
mod chunk;
mod error;
mod framing;
mod lines;
mod parse;
#[cfg(test)]
mod tests;
mod trailers;
mod write;

pub use body::{BodyDecoder, Decoded};
pub use error::ParseError;
pub use framing::{Framing, announces_forbidden_body, request_framing, response_framing};
pub use parse::{HeadLimits, head_may_end, parse_request, parse_response};
pub use write::{
    CHUNK_END, CONTINUE, write_chunk, write_chunk_start, write_last_chunk, write_request_head,
    write_response_head,
};
