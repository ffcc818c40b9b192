//! Changing to another protocol (RFC 9110 §7.8).

use crate::{Fields, RequestHead, Version, connection_options, list_items};

/// The first protocol among `allowed` (in lower case) that a request asks to change to, as it
/// wrote it.
pub fn requested_upgrade(request: &RequestHead, allowed: &[String]) -> Option<Vec<u8>> {
    if request.version != Version::Http11 || !connection_options(&request.fields).upgrade {
        return None;
    }
    let mut asked = request.fields.get_all("upgrade").flat_map(list_items);
    let is_allowed = |protocol: &&[u8]| {
        allowed.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(protocol))
    };
    asked.find(is_allowed).map(<[u8]>::to_vec)
}

/// Whether the fields of a 101 say that the connection now speaks `protocol`.
pub fn accepts_upgrade(fields: &Fields, protocol: &[u8]) -> bool {
    let mut chosen = fields.get_all("upgrade").flat_map(list_items);
    let is_it = chosen.next().is_some_and(|item| item.eq_ignore_ascii_case(protocol));
    is_it && chosen.next().is_none() && connection_options(fields).upgrade
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn request(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new(Method::GET, "/");
        for (name, value) in fields {
            head.fields.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn only_what_connection_names_and_is_allowed_is_an_upgrade() {
        let allowed = ["websocket".to_owned()];
        let ask = |fields: &[(&str, &str)]| requested_upgrade(&request(fields), &allowed);
        let yes = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "h2c, WebSocket")];
        assert_eq!(ask(&yes).as_deref(), Some(&b"WebSocket"[..]));
        assert_eq!(ask(&[("Upgrade", "websocket")]), None);
        assert_eq!(ask(&[("Connection", "upgrade"), ("Upgrade", "h2c")]), None);
        let mut old = request(&yes);
        old.version = Version::Http10;
        assert_eq!(requested_upgrade(&old, &allowed), None);
    }

    #[test]
    fn a_101_names_the_one_protocol_that_was_asked_for() {
        let says = |fields: &[(&str, &str)]| accepts_upgrade(&request(fields).fields, b"websocket");
        assert!(says(&[("Connection", "Upgrade"), ("Upgrade", "WebSocket")]));
        for fields in [
            &[("Upgrade", "websocket")][..],
            &[("Connection", "upgrade")],
            &[("Connection", "upgrade"), ("Upgrade", "other")],
            &[("Connection", "upgrade"), ("Upgrade", "websocket, other")],
        ] {
            assert!(!says(fields), "{fields:?}");
        }
    }
}
