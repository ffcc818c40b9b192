use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use millrace_connectors::{HostPolicy, Peer, PeerAddress, PeerOptions, Protocol};
use millrace_tls::ClientTls;
use napi::bindgen_prelude::{Error, Result};
use napi_derive::napi;
use parking_lot::RwLock;

use crate::options::{keepalive, limit};
use crate::tls::NativePeerTls;

/// Peers that are known at once. When there are more the table starts anew; numbers of the table
/// before stay good until the next time, for answers that are under way.
const MAX_PEERS: usize = 16_384;

static PEERS: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

#[derive(Default)]
struct Table {
    epoch: u32,
    last: u32,
    by_content: HashMap<(String, Option<ClientTls>), u32>,
    current: HashMap<u32, Arc<Peer>>,
    before: HashMap<u32, Arc<Peer>>,
}

/// A peer, checked and completed in ts/.
#[napi(object, object_to_js = false)]
#[derive(Debug)]
pub struct NativePeer {
    /// `ip:port`, `host:port` or `unix:/path`.
    pub address: String,
    pub connect_timeout_ms: u32,
    pub total_connect_timeout_ms: u32,
    pub read_timeout_ms: u32,
    pub write_timeout_ms: u32,
    /// 0 = no pooling.
    pub idle_timeout_ms: u32,
    pub bind_to: Option<String>,
    pub keepalive_idle_ms: Option<u32>,
    pub keepalive_interval_ms: Option<u32>,
    pub keepalive_count: Option<u32>,
    /// "" = the client's, "=" = the peer's own, anything else as it is.
    pub host: String,
    /// `h1`, `h2` or `auto`.
    pub protocol: String,
    pub h2_max_streams: u32,
    pub h2_ping_interval_ms: u32,
}

/// The number of a peer, at least 1. Peers of the same content have the same number.
#[napi(catch_unwind)]
pub fn register_peer(spec: NativePeer, tls: Option<&NativePeerTls>) -> Result<u32> {
    let tls = tls.map(|tls| tls.tls.clone());
    let content = (format!("{spec:?}"), tls.clone());
    let mut table = PEERS.write();
    if let Some(id) = table.by_content.get(&content) {
        return Ok(*id);
    }
    let (address, options) = spec.parse(tls)?;
    if table.current.len() >= MAX_PEERS {
        table.before = std::mem::take(&mut table.current);
        table.by_content.clear();
        table.epoch += 1;
    }
    table.last += 1;
    let id = table.last;
    table.current.insert(id, Arc::new(Peer::new(id, address, options)));
    table.by_content.insert(content, id);
    Ok(id)
}

/// Goes up when the table of peers is emptied: numbers of before have to be asked for again.
#[napi(catch_unwind)]
pub fn peer_epoch() -> u32 {
    PEERS.read().epoch
}

/// The peer with this number.
pub(crate) fn peer(id: u32) -> Option<Arc<Peer>> {
    let table = PEERS.read();
    table.current.get(&id).or_else(|| table.before.get(&id)).cloned()
}

impl NativePeer {
    fn parse(&self, tls: Option<ClientTls>) -> Result<(PeerAddress, PeerOptions)> {
        let invalid = || Error::from_reason(format!("not an address: {}", self.address));
        let address = if let Some(path) = self.address.strip_prefix("unix:") {
            PeerAddress::Unix(path.into())
        } else if let Ok(address) = self.address.parse::<SocketAddr>() {
            PeerAddress::Ip(address)
        } else {
            let (host, port) = self.address.rsplit_once(':').ok_or_else(invalid)?;
            PeerAddress::host(host, port.parse().map_err(|_| invalid())?)
        };
        let bind_to = match &self.bind_to {
            None => None,
            Some(ip) => {
                Some(ip.parse().map_err(|_| Error::from_reason(format!("not an address: {ip}")))?)
            }
        };
        let options = PeerOptions {
            connect_timeout: limit(self.connect_timeout_ms),
            total_connect_timeout: limit(self.total_connect_timeout_ms),
            read_timeout: limit(self.read_timeout_ms),
            write_timeout: limit(self.write_timeout_ms),
            idle_timeout: limit(self.idle_timeout_ms).unwrap_or_default(),
            bind_to,
            tcp_keepalive: keepalive(
                self.keepalive_idle_ms,
                self.keepalive_interval_ms,
                self.keepalive_count,
            ),
            host: match self.host.as_str() {
                "" => HostPolicy::Preserve,
                "=" => HostPolicy::Peer,
                fixed => HostPolicy::Fixed(fixed.to_owned()),
            },
            protocol: match self.protocol.as_str() {
                "h2" => Protocol::H2,
                "auto" => Protocol::Auto,
                _ => Protocol::H1,
            },
            h2_max_streams: self.h2_max_streams,
            h2_ping_interval: limit(self.h2_ping_interval_ms),
            tls,
            connect_proxy: None,
        };
        Ok((address, options))
    }
}
