//! Services of bytes, as JavaScript sets them up.

use millrace_server::{ClientLimit, RuntimeOptions};
use millrace_tcp::{TcpOptions, Traffic};
use napi_derive::napi;

use crate::options::{client_limit, limit, runtime};

/// The options of a service of bytes, checked and completed in ts/.
#[napi(object, object_to_js = false)]
pub struct NativeTcpOptions {
    pub name: String,
    pub threads: u32,
    pub work_stealing: bool,
    pub max_connections: u32,
    pub max_connections_per_client: u32,
    pub ipv6_client_prefix: u8,
    pub cpus: Option<Vec<u32>>,
    /// 0 = off.
    pub idle_timeout_ms: u32,
}

/// Bytes that a service has passed on.
#[napi(object, object_from_js = false)]
pub struct NativeTraffic {
    /// Those that clients have sent.
    pub received: f64,
    /// Those that were sent to clients.
    pub sent: f64,
}

impl From<&Traffic> for NativeTraffic {
    fn from(traffic: &Traffic) -> Self {
        NativeTraffic { received: traffic.received() as f64, sent: traffic.sent() as f64 }
    }
}

impl NativeTcpOptions {
    pub(crate) fn options(&self) -> TcpOptions {
        TcpOptions { idle_timeout: limit(self.idle_timeout_ms) }
    }

    pub(crate) fn runtime(&self) -> RuntimeOptions {
        runtime(&self.name, self.threads, self.work_stealing, self.cpus.as_deref())
    }

    pub(crate) fn client_limit(&self) -> Option<ClientLimit> {
        client_limit(self.max_connections_per_client, self.ipv6_client_prefix)
    }

    /// How many runtimes the service has.
    pub(crate) fn runtimes(&self) -> usize {
        if self.work_stealing { 1 } else { self.threads as usize }
    }
}
