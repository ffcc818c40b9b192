use std::sync::Arc;
use std::time::Duration;

use millrace_demo_origin::OriginOptions;
use millrace_listeners::{ConnectionCheck, Endpoint, UnixOptions};
use millrace_proxy::{
    ForwardingOptions, Http2Options, InvalidNetwork, Networks, ProxyOptions, Routing, TrustedField,
};
use millrace_server::{ClientLimit, Cpus, RuntimeKind, RuntimeOptions};
use millrace_transport::{Address, Keepalive, SocketOptions};
use napi_derive::napi;

use crate::admission::NativeAdmissionOptions;
use crate::crossing::NativeCrossing;
use crate::phases::{Limits, PhaseSet};
use crate::routes::NativeRoute;
use crate::threads::Wiring;

// Checked and completed in ts/; here they only change their form. 0 stands for "off".

/// The options of a proxy service.
#[napi(object, object_to_js = false)]
pub struct NativeProxyOptions {
    pub name: String,
    pub threads: u32,
    pub work_stealing: bool,
    pub routes: Vec<NativeRoute>,
    /// What holds for requests that are on no route.
    pub fallback: NativeRoute,
    pub keeps_encoded_slashes: bool,
    pub max_connections: u32,
    pub max_connections_per_client: u32,
    pub ipv6_client_prefix: u8,
    pub cpus: Option<Vec<u32>>,
    pub request_header_timeout_ms: u32,
    pub keep_alive_timeout_ms: u32,
    pub body_read_timeout_ms: u32,
    pub write_timeout_ms: u32,
    pub min_bytes_per_second: u32,
    pub max_header_bytes: u32,
    pub max_headers: u32,
    pub max_request_body_bytes: f64,
    pub request_timeout_ms: u32,
    pub try_timeout_ms: u32,
    pub max_requests_per_connection: u32,
    pub callback_timeout_ms: u32,
    /// For each piece of an answer that is made piece by piece.
    pub source_timeout_ms: u32,
    pub max_queued: u32,
    /// The numbers of the threads with the phases; empty: they are in that of the server.
    pub js_threads: Vec<u32>,
    pub max_retries: u32,
    pub upstream_keepalive_pool_size: u32,
    pub upgrades: Vec<String>,
    pub connect: bool,
    pub tunnel_idle_timeout_ms: u32,
    #[napi(js_name = "h2c")]
    pub h2c: bool,
    pub http2: NativeHttp2Options,
    pub half_close: bool,
    pub forwarding: NativeForwardingOptions,
    pub filter_own_responses: bool,
}

/// What concerns HTTP/2 towards clients.
#[napi(object, object_to_js = false)]
pub struct NativeHttp2Options {
    pub max_concurrent_streams: u32,
    pub stream_window_bytes: u32,
    pub max_frame_bytes: u32,
    pub send_buffer_bytes: u32,
    pub ping_interval_ms: u32,
    pub ping_timeout_ms: u32,
    pub max_resets: u32,
    pub resets_per_second: u32,
    pub max_fault_resets: u32,
    pub max_control_frames: u32,
    pub max_unread_bytes: f64,
}

/// What origins are told of who a request comes from.
#[napi(object, object_to_js = false)]
pub struct NativeForwardingOptions {
    pub trusted_proxies: Vec<String>,
    pub trusts_forwarded: bool,
    pub x_forwarded: bool,
    pub forwarded: bool,
    /// Empty: no Via.
    pub via: String,
}

/// The options of a service with the demo's origin.
#[napi(object, object_to_js = false)]
pub struct NativeOriginOptions {
    pub name: String,
    pub threads: u32,
    pub max_connections: u32,
    pub pause_ms: u32,
}

/// The options of an endpoint's sockets.
#[napi(object, object_to_js = false)]
pub struct NativeSocketOptions {
    pub backlog: u32,
    pub reuse_port: bool,
    pub ipv6_only: Option<bool>,
    pub keepalive_idle_ms: Option<u32>,
    pub keepalive_interval_ms: Option<u32>,
    pub keepalive_count: Option<u32>,
    pub recv_buffer: Option<u32>,
    pub send_buffer: Option<u32>,
    pub fast_open: Option<u32>,
    /// Of the file of a Unix socket.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub admission: Option<NativeAdmissionOptions>,
}

/// A length of time in ms.
pub(crate) fn length(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Where threads run.
fn processors(cpus: Option<&[u32]>) -> Cpus {
    match cpus {
        None => Cpus::Any,
        // Spread is the only other thing to say.
        Some([]) => Cpus::Spread,
        Some(list) => Cpus::List(list.iter().map(|cpu| *cpu as usize).collect()),
    }
}

/// How many connections a client may have, 0 = any number.
pub(crate) fn client_limit(most: u32, v6_prefix: u8) -> Option<ClientLimit> {
    (most > 0).then_some(ClientLimit { most: most as usize, v6_prefix })
}

/// A length of time in ms, 0 = off.
pub(crate) fn limit(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| length(ms))
}

pub(crate) fn keepalive(
    idle: Option<u32>,
    interval: Option<u32>,
    count: Option<u32>,
) -> Option<Keepalive> {
    let usual = Keepalive::default();
    idle.map(|idle| Keepalive {
        idle: length(idle),
        interval: interval.map_or(usual.interval, length),
        count: count.unwrap_or(usual.count),
    })
}

/// The rules of routes, where they say anything.
pub(crate) fn routing(
    routes: &[NativeRoute],
    fallback: &NativeRoute,
    keeps_encoded_slashes: bool,
) -> napi::Result<Option<Arc<Routing>>> {
    if routes.is_empty() && fallback.is_empty() {
        return Ok(None);
    }
    let routing = crate::routes::routing(routes, fallback, keeps_encoded_slashes);
    routing.map(|routing| Some(Arc::new(routing))).map_err(|problems| {
        napi::Error::new(napi::Status::InvalidArg, format!("wrong routes: {problems:?}"))
    })
}

/// The phases of each route, and of what is on none.
pub(crate) fn sets(routes: &[NativeRoute], fallback: &NativeRoute) -> Vec<PhaseSet> {
    routes.iter().chain([fallback]).map(|route| route.set(fallback)).collect()
}

/// The threads with the phases, by their numbers; those of `crossing` if there are none.
pub(crate) fn wirings(threads: &[u32], crossing: &NativeCrossing) -> napi::Result<Vec<Wiring>> {
    if threads.is_empty() {
        return Ok(vec![crossing.wiring()]);
    }
    threads.iter().map(|number| Wiring::find(*number)).collect()
}

impl NativeProxyOptions {
    /// How long its phases may take in JavaScript, and how many may wait for that.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            phase: limit(self.callback_timeout_ms),
            source: limit(self.source_timeout_ms),
            queued: self.max_queued as usize,
        }
    }

    pub(crate) fn proxy(&self) -> napi::Result<ProxyOptions> {
        Ok(ProxyOptions {
            request_header_timeout: limit(self.request_header_timeout_ms),
            keep_alive_timeout: limit(self.keep_alive_timeout_ms),
            body_read_timeout: limit(self.body_read_timeout_ms),
            write_timeout: limit(self.write_timeout_ms),
            min_bytes_per_second: u64::from(self.min_bytes_per_second),
            limits: millrace_http1::HeadLimits {
                max_bytes: self.max_header_bytes as usize,
                max_fields: self.max_headers as usize,
            },
            max_request_body: (self.max_request_body_bytes >= 0.0)
                .then_some(self.max_request_body_bytes as u64),
            request_timeout: limit(self.request_timeout_ms),
            try_timeout: limit(self.try_timeout_ms),
            max_requests_per_connection: self.max_requests_per_connection,
            max_retries: self.max_retries,
            upgrades: self.upgrades.clone(),
            connect: self.connect,
            tunnel_idle_timeout: limit(self.tunnel_idle_timeout_ms),
            h2c: self.h2c,
            http2: self.http2.http2(),
            half_close: self.half_close,
            // It has its place beside the phases, as both are replaced together.
            routing: None,
            forwarding: self.forwarding.forwarding()?,
            filter_own_responses: self.filter_own_responses,
            pool_size: self.upstream_keepalive_pool_size as usize,
        })
    }

    pub(crate) fn routing(&self) -> napi::Result<Option<Arc<Routing>>> {
        routing(&self.routes, &self.fallback, self.keeps_encoded_slashes)
    }

    /// The phases of each route, and of what is on none.
    pub(crate) fn sets(&self) -> Vec<PhaseSet> {
        sets(&self.routes, &self.fallback)
    }

    pub(crate) fn runtime(&self) -> RuntimeOptions {
        runtime(&self.name, self.threads, self.work_stealing, self.cpus.as_deref())
    }

    pub(crate) fn client_limit(&self) -> Option<ClientLimit> {
        client_limit(self.max_connections_per_client, self.ipv6_client_prefix)
    }

    /// How many runtimes the service has: a shard of the pool and a router for each.
    pub(crate) fn runtimes(&self) -> usize {
        if self.work_stealing { 1 } else { self.threads as usize }
    }
}

/// How a service with so many threads runs.
pub(crate) fn runtime(
    name: &str,
    threads: u32,
    work_stealing: bool,
    cpus: Option<&[u32]>,
) -> RuntimeOptions {
    RuntimeOptions {
        threads: threads as usize,
        kind: if work_stealing { RuntimeKind::Stealing } else { RuntimeKind::Isolated },
        name: name.to_owned(),
        on_thread_start: Some(crate::scheduling::hook()),
        cpus: processors(cpus),
    }
}

/// The set of these networks.
pub(crate) fn networks(all: &[String]) -> napi::Result<Networks> {
    let mut networks = Networks::default();
    let invalid =
        |error: InvalidNetwork| napi::Error::new(napi::Status::InvalidArg, error.to_string());
    all.iter().try_for_each(|network| networks.add(network).map_err(invalid))?;
    Ok(networks)
}

/// What is wrong with a text that stands for addresses: what is allowed in its place, empty where there is nothing
/// to be said of that; absent where nothing is wrong.
#[napi(catch_unwind)]
pub fn network_problem(text: String) -> Option<String> {
    Networks::default().add(&text).err().map(|error| error.allowed().unwrap_or_default())
}

impl NativeForwardingOptions {
    fn forwarding(&self) -> napi::Result<ForwardingOptions> {
        Ok(ForwardingOptions {
            trusted: networks(&self.trusted_proxies)?,
            trusted_field: match self.trusts_forwarded {
                true => TrustedField::Forwarded,
                false => TrustedField::XForwarded,
            },
            x_forwarded: self.x_forwarded,
            forwarded: self.forwarded,
            via: (!self.via.is_empty()).then(|| self.via.as_str().into()),
        })
    }
}

impl NativeHttp2Options {
    fn http2(&self) -> Http2Options {
        Http2Options {
            max_concurrent_streams: self.max_concurrent_streams,
            initial_stream_window: self.stream_window_bytes,
            max_frame_size: self.max_frame_bytes,
            max_send_buffer: self.send_buffer_bytes as usize,
            ping_interval: limit(self.ping_interval_ms),
            ping_timeout: length(self.ping_timeout_ms),
            max_resets: self.max_resets,
            resets_per_second: self.resets_per_second,
            max_local_error_reset_streams: self.max_fault_resets as usize,
            max_control_frames: self.max_control_frames,
            max_unread_bytes: self.max_unread_bytes as u64,
            ..Http2Options::default()
        }
    }
}

impl NativeOriginOptions {
    pub(crate) fn origin(&self) -> OriginOptions {
        let pause = length(self.pause_ms);
        OriginOptions { pause, ..OriginOptions::default() }
    }

    pub(crate) fn runtime(&self) -> RuntimeOptions {
        RuntimeOptions {
            threads: self.threads as usize,
            name: self.name.clone(),
            ..RuntimeOptions::default()
        }
    }
}

impl NativeSocketOptions {
    pub(crate) fn endpoint(
        &self,
        address: Address,
        check: Option<Arc<dyn ConnectionCheck>>,
    ) -> napi::Result<Endpoint> {
        let mut endpoint = Endpoint::at(address);
        endpoint.options = SocketOptions {
            backlog: self.backlog,
            keepalive: keepalive(
                self.keepalive_idle_ms,
                self.keepalive_interval_ms,
                self.keepalive_count,
            ),
            ipv6_only: self.ipv6_only,
            reuse_port: self.reuse_port,
            fast_open: self.fast_open,
            recv_buffer: self.recv_buffer.map(|bytes| bytes as usize),
            send_buffer: self.send_buffer.map(|bytes| bytes as usize),
        };
        endpoint.unix = UnixOptions { mode: self.mode, uid: self.uid, gid: self.gid };
        endpoint.admission = match &self.admission {
            Some(options) => Some(Arc::new(options.admission(check)?)),
            None => None,
        };
        Ok(endpoint)
    }
}
