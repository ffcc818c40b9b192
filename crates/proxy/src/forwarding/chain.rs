use std::net::{IpAddr, SocketAddr};

use millrace_message::{Fields, validate_host};
use millrace_transport::Address;

use super::element::{element, split_last};
use super::node::node;
use super::{ClientConnection, ForwardingOptions, TrustedField};

/// How many proxies in front of each other are followed.
const MOST: usize = 64;

/// What trusted proxies say of the way of a request: from its client to the proxy whose connection
/// this is. Everything that they do not vouch for is left out.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// From the one farthest away, the client, to the last one before the socket's. None where the
    /// socket's is the client.
    pub(super) nodes: Vec<SocketAddr>,
    /// The elements of Forwarded that name them, as they came, in the same order.
    pub(super) elements: Vec<Box<[u8]>>,
    /// The scheme that the client used, in lower case.
    pub(super) proto: Option<Box<[u8]>>,
    /// The host that the client asked for.
    pub(super) host: Option<Box<[u8]>>,
}

impl Chain {
    /// Walks from the right to the left for as long as the one who speaks is trusted. None where
    /// that is not even the one at the other end of the socket.
    pub(crate) fn find(
        conn: &ClientConnection,
        fields: &Fields,
        options: &ForwardingOptions,
    ) -> Option<Box<Self>> {
        if !conn.is_trusted {
            return None;
        }
        let mut chain = Chain::default();
        match options.trusted_field {
            TrustedField::XForwarded => {
                chain.walk_addresses(fields, options);
                let last = |name| items(fields, name, split_comma).next();
                chain.says(last("x-forwarded-proto"), last("x-forwarded-host"));
            }
            TrustedField::Forwarded => chain.walk_elements(fields, options),
        }
        chain.nodes.reverse();
        chain.elements.reverse();
        Some(Box::new(chain))
    }

    /// Where the client is: the farthest one that is vouched for, or the other end of the socket.
    pub(crate) fn client(chain: Option<&Self>, conn: &ClientConnection) -> Address {
        match chain.and_then(|chain| chain.nodes.first()) {
            Some(node) => Address::Ip(*node),
            None => conn.remote.clone(),
        }
    }

    /// The scheme that the client used, in lower case, where that is said.
    pub(crate) fn proto(&self) -> Option<&[u8]> {
        self.proto.as_deref()
    }

    fn walk_addresses(&mut self, fields: &Fields, options: &ForwardingOptions) {
        for item in items(fields, "x-forwarded-for", split_comma) {
            let Some(node) = node(item) else { return };
            self.nodes.push(node);
            if self.is_over(node.ip(), options) {
                return;
            }
        }
    }

    fn walk_elements(&mut self, fields: &Fields, options: &ForwardingOptions) {
        for item in items(fields, "forwarded", split_last) {
            let Some(element) = element(item) else { return };
            // What it says is the word of one who is trusted, also where it hides the client.
            self.says(element.proto, element.host);
            let Some(node) = element.node else { return };
            self.nodes.push(node);
            self.elements.push(item.into());
            if self.is_over(node.ip(), options) {
                return;
            }
        }
    }

    fn is_over(&self, ip: IpAddr, options: &ForwardingOptions) -> bool {
        self.nodes.len() >= MOST || !options.trusted.contains_ip(ip)
    }

    /// Takes on what can be a scheme and a host.
    fn says(&mut self, proto: Option<&[u8]>, host: Option<&[u8]>) {
        let is_scheme = |proto: &[u8]| {
            let rest =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            proto.len() <= 16
                && proto.first().is_some_and(u8::is_ascii_alphabetic)
                && proto.iter().all(rest)
        };
        if let Some(proto) = proto.filter(|proto| is_scheme(proto)) {
            self.proto = Some(proto.to_ascii_lowercase().into());
        }
        if let Some(host) = host.filter(|host| validate_host(host)) {
            self.host = Some(host.into());
        }
    }
}

/// The items of all fields with this name as one list, from the right; empty ones are left out.
fn items<'a>(
    fields: &'a Fields,
    name: &'a str,
    split: impl Fn(&'a [u8]) -> (&'a [u8], &'a [u8]),
) -> impl Iterator<Item = &'a [u8]> {
    let mut lines: Vec<&[u8]> = fields.get_all(name).collect();
    let mut rest: &[u8] = b"";
    std::iter::from_fn(move || {
        loop {
            while rest.is_empty() {
                rest = lines.pop()?;
            }
            let (before, item) = split(rest);
            rest = before;
            if !item.is_empty() {
                return Some(item);
            }
        }
    })
}

/// The last item of a list, and what is in front of it.
fn split_comma(list: &[u8]) -> (&[u8], &[u8]) {
    match list.iter().rposition(|byte| *byte == b',') {
        Some(at) => (&list[..at], list[at + 1..].trim_ascii()),
        None => (b"", list.trim_ascii()),
    }
}
