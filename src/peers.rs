use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use millrace_connectors::{
    ConnectProxy, HostPolicy, Peer, PeerAddress, PeerOptions, Protocol, ProxyProtocol,
};
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
    pub connect_proxy: Option<NativeConnectProxy>,
    /// `v1` or `v2`.
    pub proxy_protocol: Option<String>,
}

/// A proxy on the way to a peer, checked in ts/.
#[napi(object, object_to_js = false)]
#[derive(Debug)]
pub struct NativeConnectProxy {
    pub address: String,
    /// The names of its headers, and as many values, each character a byte.
    pub names: Vec<String>,
    pub values: Vec<String>,
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
        let address = place(&self.address)?;
        let connect_proxy = self.connect_proxy.as_ref().map(NativeConnectProxy::parse);
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
            connect_proxy: connect_proxy.transpose()?,
            proxy_protocol: match self.proxy_protocol.as_deref() {
                Some("v1") => Some(ProxyProtocol::V1),
                Some(_) => Some(ProxyProtocol::V2),
                None => None,
            },
        };
        Ok((address, options))
    }
}

impl NativeConnectProxy {
    fn parse(&self) -> Result<ConnectProxy> {
        let wrong = |_| Error::from_reason("not the value of a header");
        let byte = |char| u8::try_from(char).map_err(wrong);
        let values = self.values.iter().map(|value| value.chars().map(byte).collect());
        let values: Vec<Vec<u8>> = values.collect::<Result<_>>()?;
        let fields = self.names.iter().cloned().zip(values).collect();
        ConnectProxy::new(place(&self.address)?, fields)
            .map_err(|error| Error::from_reason(error.to_string()))
    }
}

/// The address that a text of ts/ stands for.
fn place(text: &str) -> Result<PeerAddress> {
    let invalid = || Error::from_reason(format!("not an address: {text}"));
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(PeerAddress::Unix(path.into()));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(PeerAddress::Ip(address));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    Ok(PeerAddress::host(host, port.parse().map_err(|_| invalid())?))
}
