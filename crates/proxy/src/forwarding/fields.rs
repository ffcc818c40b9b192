use std::fmt::Write;
use std::net::IpAddr;

use millrace_message::{
    Fields, RequestHead, Version, forwarding_suffix, is_forwarding, validate_name,
};

use super::{Chain, ClientConnection, ForwardingOptions, TrustedField};

/// Puts into a request on its way upstream who it comes from, in the place of what it says of that.
pub(crate) fn forward(
    fields: &mut Fields,
    request: &RequestHead,
    conn: &ClientConnection,
    chain: Option<&Chain>,
    options: &ForwardingOptions,
) {
    let keeps =
        chain.is_some() && options.x_forwarded && options.trusted_field == TrustedField::XForwarded;
    fields.retain(|name, _| !is_forwarding(name) || (keeps && is_other(name)));
    let said = chain.and_then(|chain| chain.proto.as_deref());
    let proto = said.unwrap_or(conn.scheme().as_bytes());
    let said = chain.and_then(|chain| chain.host.as_deref());
    let host = said.unwrap_or(request.host().as_bytes());
    if options.x_forwarded {
        match (chain, &conn.address) {
            (Some(chain), address) if !chain.nodes.is_empty() => {
                fields.push_unchecked(b"x-forwarded-for", &list(chain, address.as_deref()));
            }
            (_, Some(address)) => fields.push_unchecked(b"x-forwarded-for", address.as_bytes()),
            // A client on a Unix socket has none.
            (_, None) => {}
        }
        fields.push_unchecked(b"x-forwarded-proto", proto);
        if !host.is_empty() {
            fields.push_unchecked(b"x-forwarded-host", host);
        }
    }
    if options.forwarded {
        fields.push_unchecked(b"forwarded", elements(request, conn, chain).as_bytes());
    }
}

/// Adds this proxy to Via, for a message that came in `version`.
pub(crate) fn add_via(fields: &mut Fields, version: Version, options: &ForwardingOptions) {
    let Some(name) = &options.via else { return };
    let version = match version {
        Version::Http10 => "1.0 ",
        Version::Http11 => "1.1 ",
        Version::H2 => "2 ",
    };
    let mut value = Vec::new();
    for old in fields.get_all("via").filter(|old| !old.is_empty()) {
        value.extend_from_slice(old);
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(version.as_bytes());
    value.extend_from_slice(name.as_bytes());
    fields.remove("via");
    fields.push_unchecked(b"via", &value);
}

/// Whether a field is one that is not written anew, and that `chain` lets through.
fn is_other(name: &[u8]) -> bool {
    match forwarding_suffix(name) {
        Some(suffix) => {
            !["for", "proto", "host"].iter().any(|one| suffix.eq_ignore_ascii_case(one.as_bytes()))
        }
        // Forwarded has no hyphen, X-Real-IP has.
        None => name.len() == "x-real-ip".len() && !name.eq_ignore_ascii_case(b"forwarded"),
    }
}

/// The client and the proxies behind it, the other end of the socket last.
fn list(chain: &Chain, address: Option<&str>) -> Vec<u8> {
    let mut list = String::new();
    for node in &chain.nodes {
        // Writing to a string cannot fail, here and below.
        let _ = write!(list, "{}, ", node.ip());
    }
    match address {
        Some(address) => list.push_str(address),
        None => list.truncate(list.len() - 2),
    }
    list.into_bytes()
}

/// The same as Forwarded. Each proxy has said how it was asked; of those that did not, the first
/// element tells how the client did.
fn elements(request: &RequestHead, conn: &ClientConnection, chain: Option<&Chain>) -> String {
    let mut list = String::new();
    if let Some(chain) = chain {
        for element in &chain.elements {
            list.push_str(&String::from_utf8_lossy(element));
            list.push_str(", ");
        }
        if chain.elements.is_empty() {
            for (at, node) in chain.nodes.iter().enumerate() {
                let text = |text: &Option<Box<[u8]>>| {
                    let text = text.as_deref().filter(|_| at == 0)?;
                    std::str::from_utf8(text).ok().map(str::to_owned)
                };
                push_element(
                    &mut list,
                    Some(node.ip()),
                    text(&chain.host).as_deref(),
                    text(&chain.proto).as_deref(),
                );
                list.push_str(", ");
            }
        }
    }
    let host = Some(request.host()).filter(|host| !host.is_empty());
    push_element(&mut list, conn.remote.ip(), host, Some(conn.scheme()));
    list
}

fn push_element(list: &mut String, node: Option<IpAddr>, host: Option<&str>, proto: Option<&str>) {
    let _ = match node.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => write!(list, "for={ip}"),
        Some(IpAddr::V6(ip)) => write!(list, "for=\"[{ip}]\""),
        None => write!(list, "for=unknown"),
    };
    if let Some(host) = host {
        // A host has no quotes and no backslashes in it.
        let quote = if validate_name(host.as_bytes()) { "" } else { "\"" };
        let _ = write!(list, ";host={quote}{host}{quote}");
    }
    if let Some(proto) = proto {
        let _ = write!(list, ";proto={proto}");
    }
}

#[cfg(test)]
mod tests {
    use millrace_message::Method;
    use millrace_server::ConnInfo;
    use millrace_transport::Address;

    use super::*;
    use crate::Networks;

    /// What a client at `remote` sends, and what goes on of it.
    fn told(remote: &str, trusted: &[&str], sent: &[(&str, &str)]) -> Vec<String> {
        let mut networks = Networks::default();
        for network in trusted {
            networks.add(network).unwrap();
        }
        let options = ForwardingOptions {
            trusted: networks,
            forwarded: true,
            ..ForwardingOptions::default()
        };
        let info = ConnInfo {
            id: 1,
            local: Address::Unix("/run/x".into()),
            remote: remote.parse().unwrap(),
            runtime: 0,
            accepted: tokio::time::Instant::now(),
            tls: None,
            counters: Default::default(),
        };
        let conn = ClientConnection::new(&info, &options);
        let mut request = RequestHead::new(Method::GET, "/");
        for (name, value) in sent {
            request.fields.append(name, value).unwrap();
        }
        let chain = Chain::find(&conn, &request.fields, &options);
        let mut fields = request.fields.clone();
        forward(&mut fields, &request, &conn, chain.as_deref(), &options);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn clients_on_unix_sockets_have_no_address() {
        let sent = [("X-Forwarded-For", "203.0.113.7, 10.0.0.1"), ("X-Real-Ip", "1.1.1.1")];
        let expected = ["x-forwarded-proto: http", "forwarded: for=unknown;proto=http"];
        assert_eq!(told("unix:/run/y", &["private"], &sent), expected);
        let expected = [
            "X-Real-Ip: 1.1.1.1",
            "x-forwarded-for: 203.0.113.7, 10.0.0.1",
            "x-forwarded-proto: http",
            "forwarded: for=203.0.113.7, for=10.0.0.1, for=unknown;proto=http",
        ];
        assert_eq!(told("unix:/run/y", &["unix", "private"], &sent), expected);
    }

    #[test]
    fn addresses_of_ipv6_are_quoted_in_forwarded_alone() {
        let expected = [
            "Host: [::1]:80",
            "x-forwarded-for: 2001:db8::7",
            "x-forwarded-proto: http",
            "x-forwarded-host: [::1]:80",
            "forwarded: for=\"[2001:db8::7]\";host=\"[::1]:80\";proto=http",
        ];
        assert_eq!(told("[2001:db8::7]:4711", &[], &[("Host", "[::1]:80")]), expected);
        let mapped = told("[::ffff:10.0.0.1]:1", &[], &[("X_FORWARDED_for", "1.1.1.1")]);
        assert_eq!(mapped[0], "x-forwarded-for: 10.0.0.1");
    }
}
