//! What phases change: edits of a head, and the heads of answers. The other side has checked each name
//! and value; what is still wrong here is a fault of ours and ends the request.

use millrace_error::{Code, Error, Result};
use millrace_message::{Fields, Method, RequestHead, ResponseHead};

fn broken() -> Error {
    Error::new(Code::Internal, "an edit that cannot be read")
}

/// Op, name and value of each line.
fn lines(edits: &[u8]) -> impl Iterator<Item = Result<(u8, &str, &[u8])>> {
    let lines = edits.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| {
        let (op, rest) = line.split_first().ok_or_else(broken)?;
        let zero = rest.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        let (name, value) = (&rest[..zero], &rest[zero + 1..]);
        Ok((*op, std::str::from_utf8(name).map_err(|_| broken())?, value))
    })
}

fn edit_fields(fields: &mut Fields, op: u8, name: &str, value: &[u8]) -> Result<()> {
    match op {
        b'=' => fields.set(name, value).map_err(|_| broken()),
        b'+' => fields.append(name, value).map_err(|_| broken()),
        b'-' => {
            fields.remove(name);
            Ok(())
        }
        _ => Err(broken()),
    }
}

/// Changes a request on its way upstream.
pub fn edit_request(head: &mut RequestHead, edits: &[u8]) -> Result<()> {
    for line in lines(edits) {
        let (op, name, value) = line?;
        match op {
            b'M' => head.method = Method::new(value).ok_or_else(broken)?,
            b'T' if millrace_message::validate_target(value) => head.target = value.to_vec(),
            b'H' if millrace_message::validate_host(value) => {
                head.fields.set("host", value).map_err(|_| broken())?;
            }
            _ => edit_fields(&mut head.fields, op, name, value)?,
        }
    }
    Ok(())
}

/// Changes a response on its way to the client.
pub fn edit_response(head: &mut ResponseHead, edits: &[u8]) -> Result<()> {
    for line in lines(edits) {
        let (op, name, value) = line?;
        if op == b'S' {
            let status = std::str::from_utf8(value).ok().and_then(|status| status.parse().ok());
            head.status = status.filter(|s| (200..=999).contains(s)).ok_or_else(broken)?;
            head.reason = None;
        } else {
            edit_fields(&mut head.fields, op, name, value)?;
        }
    }
    Ok(())
}

/// Changes trailers. Fields that may not be there are left out.
pub fn edit_trailers(trailers: &mut Fields, edits: &[u8]) -> Result<()> {
    for line in lines(edits) {
        let (op, name, value) = line?;
        if op == b'-' || millrace_message::allowed_in_trailers(name.as_bytes()) {
            edit_fields(trailers, op, name, value)?;
        }
    }
    Ok(())
}

/// The head of an answer that a phase has given.
pub fn answer_head(status: i32, fields: &[u8]) -> Result<ResponseHead> {
    let status = u16::try_from(status).ok().filter(|s| (200..=999).contains(s));
    let mut head = ResponseHead::new(status.ok_or_else(broken)?);
    for line in fields.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let zero = line.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        let name = std::str::from_utf8(&line[..zero]).map_err(|_| broken())?;
        head.fields.append(name, &line[zero + 1..]).map_err(|_| broken())?;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_edited_in_order() {
        let mut head = RequestHead::new(Method::GET, "/");
        head.fields.append("A", "1").unwrap();
        edit_request(&mut head, b"M\0PUT\nT\0/x?y\nH\0b.example\n=a\x002\n+a\x003\n-none\0\n")
            .unwrap();
        assert_eq!(
            (head.method.as_str(), &head.target[..], head.host()),
            ("PUT", &b"/x?y"[..], "b.example")
        );
        assert_eq!(head.fields.get_all("a").collect::<Vec<_>>(), [b"2", b"3"]);
    }

    #[test]
    fn an_edit_that_would_break_the_message_is_refused() {
        for edits in [&b"=a\0b\r"[..], b"= a\0b", b"T\0/a b", b"T\0", b"M\0G T", b"x", b"H\0a b"] {
            let mut head = RequestHead::new(Method::GET, "/");
            assert!(edit_request(&mut head, edits).is_err(), "{edits:?}");
        }
    }
}
