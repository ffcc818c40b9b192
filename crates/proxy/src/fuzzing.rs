//! Ways in for `crates/fuzz-targets`: functions of bytes that panic where something does not hold.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;

use millrace_message::RequestHead;
use millrace_server::ConnInfo;
use millrace_transport::Address;
use tokio::time::Instant;

use crate::forwarding::{Chain, add_via, forward};
use crate::{ClientConnection, ForwardingOptions, Networks, TrustedField};

pub use crate::h2::fuzzing::{h2_frames, hpack};

/// What is forwarded of a request that a trusted proxy sends, by each of the ways there are.
pub fn forwarded(request: &RequestHead) -> Vec<RequestHead> {
    let address = || Address::Ip(([127, 0, 0, 1], 1).into());
    let conn = ConnInfo {
        id: 1,
        local: address(),
        remote: address(),
        runtime: 0,
        accepted: Instant::now(),
        tls: None,
        counters: Arc::default(),
    };
    let mut trusted = Networks::default();
    trusted.add("127.0.0.0/8").unwrap();
    trusted.add("10.0.0.0/8").unwrap();
    [TrustedField::XForwarded, TrustedField::Forwarded]
        .map(|trusted_field| {
            let options = ForwardingOptions {
                trusted: trusted.clone(),
                trusted_field,
                x_forwarded: true,
                forwarded: true,
                via: Some("me".into()),
            };
            let conn = ClientConnection::new(&conn, &options);
            let chain = Chain::find(&conn, &request.fields, &options);
            let _ = Chain::client(chain.as_deref(), &conn);
            let mut head = request.clone();
            forward(&mut head.fields, request, &conn, chain.as_deref(), &options);
            add_via(&mut head.fields, request.version, &options);
            head
        })
        .to_vec()
}
