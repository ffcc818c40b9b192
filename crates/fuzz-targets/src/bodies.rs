use millrace_http1::Framing;
use millrace_message::{Fields, allowed_in_trailers};

use crate::cuts::Cuts;
use crate::message::{framed, read, read_in_any_cut};

/// Chunks, however they are cut; those that are whole leave as a body that is whole.
pub(crate) fn chunked(data: &[u8]) {
    let (cuts, bytes) = Cuts::of(data);
    let Some(body) = read_in_any_cut(Framing::Chunked, bytes, cuts) else { return };
    let is_refused = |name: &[u8]| !allowed_in_trailers(name);
    let trailers = body.trailers.as_ref();
    assert!(!trailers.is_some_and(|all| all.iter().any(|(name, _)| is_refused(name))));
    if !body.done {
        return;
    }
    let mut out = Vec::new();
    framed(Framing::Chunked, &body, &mut Fields::new(), &mut out);
    let again = read(Framing::Chunked, &out, Cuts::of(data).0).unwrap();
    assert!(again.done && again.rest.is_empty(), "not exactly one body");
    assert_eq!((&again.data, &again.trailers), (&body.data, &body.trailers));
}

/// What follows the last chunk.
pub(crate) fn trailers(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    chunked(&[&[*first], &b"0\r\n"[..], rest].concat());
}
