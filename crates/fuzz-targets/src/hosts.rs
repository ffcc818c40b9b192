use millrace_http1::{HeadLimits, parse_response};
use millrace_message::{
    Method, RequestHead, TargetForm, split_authority, validate_host, validate_target,
};

use crate::cuts::Cuts;

/// A host and a port: what is one is the same when it is written anew.
pub(crate) fn host(data: &[u8]) {
    let Some(parts) = split_authority(data) else { return };
    assert!(!parts.host.is_empty() && validate_host(data));
    let host = match parts.host.contains(':') {
        true => format!("[{}]", parts.host),
        false => parts.host.to_owned(),
    };
    let text = parts.port.map_or(host.clone(), |port| format!("{host}:{port}"));
    assert_eq!(split_authority(text.as_bytes()), Some(parts));
    assert!(!text.bytes().any(|byte| matches!(byte, b'/' | b'@' | b'?' | b'#' | 0..=b' ')));
}

/// A request target: what has a form keeps its host, path and query in origin form.
pub(crate) fn target(data: &[u8]) {
    let (first, target) = data.split_first().unwrap_or((&0, &[]));
    let methods = [Method::GET, Method::OPTIONS, Method::CONNECT];
    let method = methods[usize::from(*first) % methods.len()].clone();
    let mut head = RequestHead::new(method, target);
    head.fields.push_unchecked(b"Host", b"own.test");
    // The others no parser lets through.
    let Some(form) = head.target_form().filter(|_| validate_target(target)) else { return };
    let (host, path) = (head.host().to_owned(), head.path().to_vec());
    let query = head.query().map(<[u8]>::to_vec);
    head.make_origin_form();
    assert_eq!(head.host(), host);
    let is_kept = form != TargetForm::Absolute;
    assert!(is_kept || matches!(head.target.first(), Some(b'/' | b'*')));
    assert_eq!(head.query().map(<[u8]>::to_vec), query);
    // Of OPTIONS the server itself may be meant.
    assert!(head.path() == path || head.target == b"*");
    assert!(head.target_form().is_some());
}

/// What a proxy answers to CONNECT: nothing behind its answer is read.
pub(crate) fn connect_answer(data: &[u8]) {
    let (mut cuts, bytes) = Cuts::of(data);
    let limits = HeadLimits { max_bytes: 16 * 1024, max_fields: 128 };
    let (mut have, mut whole) = (0, None);
    while have < bytes.len() {
        let most = millrace_connectors::fuzzing::missing_of_answer(&bytes[..have]);
        assert!(most > 0);
        have += cuts.next(bytes.len() - have).min(most);
        match parse_response(&bytes[..have], &limits) {
            Ok(None) => {}
            Ok(Some((_, length))) => {
                whole = Some(length);
                break;
            }
            Err(_) => return,
        }
    }
    assert!(whole.is_none_or(|length| length == have), "a byte of the tunnel was read");
}
