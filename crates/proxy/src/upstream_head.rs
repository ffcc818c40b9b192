//! The head of a request on its way from the client to an upstream.

use millrace_connectors::Peer;
use millrace_message::{RequestHead, Version, has_token, strip_hop_by_hop};

use crate::forwarding::{add_via, forward};
use crate::{Exchange, ProxyOptions, max_forwards};

/// The head that goes upstream: the client's, less what belongs to the client's connection and what
/// it says of itself.
pub(crate) fn upstream_head(
    ex: &Exchange,
    peer: &Peer,
    expects_continue: bool,
    options: &ProxyOptions,
) -> RequestHead {
    let Exchange { request, connection, chain, .. } = ex;
    let mut head = request.clone();
    strip_hop_by_hop(&mut head.fields);
    forward(&mut head.fields, request, connection, chain.as_deref(), &options.forwarding);
    add_via(&mut head.fields, request.version, &options.forwarding);
    head.fields.remove("expect");
    if expects_continue {
        // In one word, whatever else the client has put there.
        head.fields.push_unchecked(b"expect", b"100-continue");
    }
    max_forwards::forward(&mut head);
    head.version = Version::Http11;
    let host = peer.host_override();
    let host = host.or_else(|| (!head.fields.contains("host")).then(|| peer.authority()));
    if let Some(host) = host {
        // Checked when the peer was made; a name that cannot be sent leaves the client's.
        let _ = head.fields.set("host", host);
    }
    if let Some(routing) = &options.routing {
        routing.change_request(ex, &mut head);
    }
    head
}

/// Whether the client takes trailers and said so.
pub(crate) fn asks_for_trailers(ex: &Exchange) -> bool {
    has_token(ex.request.fields.get_all("te"), "trailers")
}
