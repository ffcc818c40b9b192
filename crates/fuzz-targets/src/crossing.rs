use millrace_http1::{
    HeadLimits, parse_request, parse_response, write_request_head, write_response_head,
};
use millrace_message::{Fields, Method, RequestHead, ResponseHead};
use millrace_records::{
    INTS, Output, Record, answer_head, edit_request, edit_response, edit_trailers, write_fields,
};

use crate::message::is_one_head;

/// Records and edits that come back from the phases: what is taken is still one head.
pub(crate) fn crossing(data: &[u8]) {
    record(data);
    let mut request = RequestHead::new(Method::GET, "/");
    request.fields.push_unchecked(b"Host", b"a");
    request.fields.push_unchecked(b"X-One", b"1");
    if edit_request(&mut request, data).is_ok() {
        without_framing(&mut request.fields);
        let mut out = Vec::new();
        write_request_head(&request, &mut out);
        is_one_head(&out);
        // A method and a target that do not go together are found by whoever sends them.
        if request.target_form().is_some() {
            let parsed = parse_request(&out, &free());
            assert_eq!(parsed, Ok(Some((request.clone(), out.len()))));
        }
        lines(&request.fields);
    }
    let mut response = ResponseHead::new(200);
    if edit_response(&mut response, data).is_ok() {
        is_sent_as_one(response);
    }
    let status = i32::from_le_bytes([data.len() as u8, 1, 0, 0]);
    if let Ok(answer) = answer_head(status, data) {
        is_sent_as_one(answer);
    }
    let mut trailers = Fields::new();
    let _ = edit_trailers(&mut trailers, data);
    lines(&trailers);
}

/// What frames a message is set where it is sent, whatever a phase says.
fn without_framing(fields: &mut Fields) {
    for name in ["content-length", "transfer-encoding"] {
        fields.remove(name);
    }
}

fn free() -> HeadLimits {
    HeadLimits { max_bytes: usize::MAX, max_fields: 4096 }
}

fn is_sent_as_one(mut head: ResponseHead) {
    without_framing(&mut head.fields);
    let mut out = Vec::new();
    write_response_head(&head, &mut out);
    is_one_head(&out);
    let (again, length) = parse_response(&out, &free()).unwrap().unwrap();
    assert_eq!((again.status, &again.fields, length), (head.status, &head.fields, out.len()));
    lines(&head.fields);
}

/// Fields are found again in the text that the other side reads.
fn lines(fields: &Fields) {
    let mut text = Vec::new();
    write_fields(&mut text, fields);
    let text = text.strip_suffix(b"\n").unwrap();
    let mut lines = text.split(|byte| *byte == b'\n').skip(1);
    for (name, value) in fields.iter() {
        let line = lines.next().unwrap();
        let colon = line.iter().position(|byte| *byte == b':').unwrap();
        assert_eq!((&line[..colon], &line[colon + 1..]), (&*name.to_ascii_lowercase(), value));
    }
    assert_eq!(lines.next(), None);
}

/// The first bytes are the ints of a record, the rest what it points to.
fn record(data: &[u8]) {
    let mut ints = [0i32; INTS];
    let (head, output) = data.split_at(data.len().min(4 * INTS));
    for (int, bytes) in ints.iter_mut().zip(head.chunks(4)) {
        // Small numbers as often as any: those that point into the output.
        *int = match *bytes {
            [a, 0, ..] => i32::from(a),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
    }
    if let Some(Record::Reply { reply, .. }) = Record::read(&ints, &Output::new(output)) {
        assert!(reply.first.len() + reply.second.len() <= output.len());
    }
    let _ = Record::read(&ints[..data.len() % INTS], &Output::new(output));
}
