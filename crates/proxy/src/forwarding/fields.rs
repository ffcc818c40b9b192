use std::fmt::Write;
use std::net::IpAddr;

use millrace_message::{Fields, RequestHead, Version, validate_name};

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
    fields.retain(|name, _| !is_claim(name, keeps));
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

/// Whether a field says where a request comes from. `keeps` those of X-Forwarded-* that are not
/// written anew. An underscore counts as a hyphen: to many an origin (CGI, WSGI) they are the same.
fn is_claim(name: &[u8], keeps: bool) -> bool {
    let is = |name: &[u8], known: &str| {
        let same = |(a, b): (&u8, u8)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-');
        name.len() == known.len() && name.iter().zip(known.bytes()).all(same)
    };
    // Asked for every field of every request.
    match name.first() {
        Some(b'f' | b'F') => is(name, "forwarded"),
        Some(b'x' | b'X') if name.len() < 9 => false,
        Some(b'x' | b'X') => match name.split_at_checked("x-forwarded-".len()) {
            Some((start, end)) if is(start, "x-forwarded-") => {
                !keeps || ["for", "proto", "host"].iter().any(|known| is(end, known))
            }
            _ => !keeps && is(name, "x-real-ip"),
        },
        _ => false,
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
