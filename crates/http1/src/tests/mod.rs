//! Tables for all of the codec, by its public functions.

mod bodies;
mod framing;
mod heads;
mod random;
mod refused;
mod trailers;
mod write;

use millrace_message::{RequestHead, ResponseHead};

use crate::{HeadLimits, ParseError, parse_request, parse_response};

/// Parses a head as it arrives byte by byte, and asserts that no cut changes the result: before
/// the end it is "more", and what follows the head does not matter.
fn every_cut<T: std::fmt::Debug + PartialEq>(
    text: &[u8],
    parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, ParseError>,
) -> Result<(T, usize), ParseError> {
    let whole = parse(text).transpose().expect("a whole head");
    for cut in 0..text.len() {
        match (parse(&text[..cut]), &whole) {
            (Ok(None), _) => {}
            // Refused early: for the same kind of fault.
            (Err(early), Err(late)) => {
                assert_eq!(std::mem::discriminant(&early), std::mem::discriminant(late), "{cut}");
            }
            (Ok(Some(early)), Ok(late)) if late.1 <= cut => assert_eq!(&early, late),
            (early, late) => panic!("cut at {cut}: {early:?}, whole {late:?}"),
        }
    }
    whole
}

fn request(text: &str) -> Result<(RequestHead, usize), ParseError> {
    every_cut(text.as_bytes(), |buf| parse_request(buf, &HeadLimits::default()))
}

fn response(text: &str) -> Result<(ResponseHead, usize), ParseError> {
    every_cut(text.as_bytes(), |buf| parse_response(buf, &HeadLimits::default()))
}
