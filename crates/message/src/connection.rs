//! What concerns one connection only (RFC 9110 §7.6.1).

use crate::{Fields, Version, list_items};

/// What the Connection fields say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// The connection ends after this message.
    pub close: bool,
    /// It stays, in HTTP/1.0.
    pub keep_alive: bool,
    /// An Upgrade field is meant for the receiver.
    pub upgrade: bool,
}

/// The options of all Connection fields.
pub fn connection_options(fields: &Fields) -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    for item in fields.get_all("connection").flat_map(list_items) {
        options.close |= item.eq_ignore_ascii_case(b"close");
        options.keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
        options.upgrade |= item.eq_ignore_ascii_case(b"upgrade");
    }
    options
}

/// Whether the sender of this head keeps its connection open after the message (RFC 9112 §9.3).
pub fn is_persistent(version: Version, fields: &Fields) -> bool {
    let options = connection_options(fields);
    match version {
        Version::Http10 => options.keep_alive && !options.close,
        Version::Http11 => !options.close,
        Version::H2 => true,
    }
}

/// Removes what ends at this hop: Connection and the fields it names, those that belong to a
/// connection by definition, and what may be taken for fields that frame a message. Trailer stays: trailers are passed on.
pub fn strip_hop_by_hop(fields: &mut Fields) {
    let named = named_by_connection(fields);
    fields.retain(|name, _| !is_hop_by_hop(name) && !named.contains(name));
}

/// Whether the field concerns one connection only, whatever Connection names.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    // Asked for every field of every message: most are told apart by their length alone.
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        // To many an origin (CGI, WSGI) these are the fields that say how a message is framed.
        14 => is("content_length"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding") || is("transfer_encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        25 => is("proxy-authentication-info"),
        _ => false,
    }
}

/// Fields that Connection cannot remove: without them the next hop would read another message.
fn is_end_to_end(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"content-length")
}

/// The further fields that Connection names, sorted: a client may name thousands, and each is
/// looked up for every field.
#[derive(Default)]
struct Named(Vec<Box<[u8]>>);

impl Named {
    fn contains(&self, name: &[u8]) -> bool {
        !self.0.is_empty()
            && self.0.binary_search_by(|known| (**known).cmp(&name.to_ascii_lowercase())).is_ok()
    }
}

fn named_by_connection(fields: &Fields) -> Named {
    let mut names: Vec<Box<[u8]>> = fields
        .get_all("connection")
        .flat_map(list_items)
        .filter(|item| !item.eq_ignore_ascii_case(b"close"))
        .filter(|item| !is_hop_by_hop(item) && !is_end_to_end(item))
        .map(|item| item.to_ascii_lowercase().into_boxed_slice())
        .collect();
    names.sort_unstable();
    names.dedup();
    Named(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.append(name, value.as_bytes()).unwrap();
        }
        fields
    }

    fn stripped(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut fields = fields(pairs);
        strip_hop_by_hop(&mut fields);
        fields.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn fields_of_the_connection_are_stripped() {
        let left = stripped(&[
            ("Host", "a"),
            ("Connection", "close, X-One"),
            ("connection", "x-two,TE"),
            ("X-One", "1"),
            ("X-TWO", "2"),
            ("X-Three", "3"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("Proxy-Authorization", "x"),
            ("Proxy-Authenticate", "x"),
            ("Trailer", "x"),
        ]);
        assert_eq!(left, ["Host", "X-Three", "Trailer"]);
    }

    #[test]
    fn connection_cannot_strip_host_or_length() {
        let all = [("Host", "a"), ("Content-Length", "1"), ("Connection", "host, Content-Length")];
        assert_eq!(stripped(&all), ["Host", "Content-Length"]);
    }

    #[test]
    fn thousands_of_names_in_connection_are_not_slow() {
        let names: Vec<String> = (0..20_000).map(|n| format!("{n:x}")).collect();
        let mut all = fields(&[("Connection", &names.join(","))]);
        for n in 0..128 {
            all.append(&format!("{n:x}"), b"v").unwrap();
        }
        strip_hop_by_hop(&mut all);
        assert!(all.is_empty());
    }

    #[test]
    fn persistence_depends_on_the_version() {
        for (version, connection, expected) in [
            (Version::Http11, "", true),
            (Version::Http11, "close", false),
            (Version::Http11, "x, CLOSE", false),
            (Version::Http11, "keep-alive", true),
            (Version::Http10, "", false),
            (Version::Http10, "Keep-Alive", true),
            (Version::Http10, "keep-alive, close", false),
            (Version::H2, "close", true),
        ] {
            let fields = fields(&[("Connection", connection)]);
            assert_eq!(is_persistent(version, &fields), expected, "{version:?} {connection}");
        }
        assert!(connection_options(&fields(&[("Connection", "Upgrade")])).upgrade);
    }
}
