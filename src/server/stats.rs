use millrace_connectors::PoolStats;
use millrace_error::Code;
use napi::bindgen_prelude::Float64Array;
use napi_derive::napi;

use crate::tcp::NativeTraffic;

/// The connections of a service to its upstreams.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct NativePoolStats {
    pub open: u32,
    pub idle: u32,
    pub reused: f64,
    pub created: f64,
}

impl From<PoolStats> for NativePoolStats {
    fn from(pool: PoolStats) -> Self {
        NativePoolStats {
            open: pool.open as u32,
            idle: pool.idle as u32,
            reused: pool.reused as f64,
            created: pool.created as f64,
        }
    }
}

/// Numbers of a service.
#[napi(object, object_from_js = false)]
pub struct NativeServiceStats {
    pub name: String,
    /// Connections of clients that are open.
    pub connections: u32,
    /// Connections that were accepted and served, those that were closed at once as too many were open,
    /// and those that were closed because of whose they were.
    pub accepted: f64,
    pub rejected: f64,
    pub refused: f64,
    pub pool: NativePoolStats,
    /// Of a proxy: requests in all, those in phases, upstream and responding, those that ended, by
    /// class of status, retries, tries given up after a time-out; then errors, as in `errorCodes`.
    pub requests: Option<Float64Array>,
    /// Of a service that passes on bytes.
    pub traffic: Option<NativeTraffic>,
}

/// The codes of errors, in the order in which they are counted.
#[napi(catch_unwind)]
pub fn error_codes() -> Vec<&'static str> {
    Code::ALL.iter().map(|code| code.as_str()).collect()
}
