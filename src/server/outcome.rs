use std::io;

use millrace_server::{CloseReport, Ends, StartError};
use millrace_transport::Address;
use napi_derive::napi;

/// What became of a start: the bound addresses by service and endpoint, or why there are none.
#[napi(object, object_from_js = false)]
pub struct NativeStarted {
    pub addresses: Vec<Vec<String>>,
    /// `ADDRESS_IN_USE`, `BIND_FAILED`, `SERVER_CLOSED`, `UPGRADE_FAILED`, `SERVICE_FAILED`,
    /// `DEPENDENCY_CYCLE` or `START_FAILED`.
    pub code: Option<String>,
    pub message: Option<String>,
    /// With `SERVICE_FAILED`: which service.
    pub service: Option<u32>,
}

/// How many ended by themselves, and how many were cut.
#[napi(object, object_from_js = false)]
pub struct NativeEnds {
    pub finished: f64,
    pub cut: f64,
}

/// What became of an endpoint that was added while its service runs.
#[napi(object, object_from_js = false)]
pub struct NativeListening {
    /// Its number within the service.
    pub number: u32,
    pub address: Option<String>,
    /// `ADDRESS_IN_USE`, `BIND_FAILED`, `NOT_STARTED`, `SERVER_CLOSED` or `START_FAILED`.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// What became of the work of a server since it began to drain.
#[napi(object, object_from_js = false)]
pub struct NativeClosed {
    pub requests: NativeEnds,
    pub connections: NativeEnds,
}

impl From<std::result::Result<Vec<Vec<Address>>, StartError>> for NativeStarted {
    fn from(started: std::result::Result<Vec<Vec<Address>>, StartError>) -> Self {
        match started {
            Ok(services) => {
                let addresses = services
                    .iter()
                    .map(|service| service.iter().map(ToString::to_string).collect())
                    .collect();
                NativeStarted { addresses, code: None, message: None, service: None }
            }
            Err(error) => NativeStarted {
                addresses: Vec::new(),
                code: Some(code(&error).to_owned()),
                message: Some(error.to_string()),
                service: match &error {
                    StartError::Service { id, .. } => Some(id.index() as u32),
                    _ => None,
                },
            },
        }
    }
}

impl From<CloseReport> for NativeClosed {
    fn from(CloseReport { requests, connections }: CloseReport) -> Self {
        let ends = |ends: Ends| NativeEnds { finished: ends.finished as f64, cut: ends.cut as f64 };
        NativeClosed { requests: ends(requests), connections: ends(connections) }
    }
}

/// How JavaScript calls an error of a start.
pub(super) fn code(error: &StartError) -> &'static str {
    match error {
        StartError::Bind(bind) if bind.io.kind() == io::ErrorKind::AddrInUse => "ADDRESS_IN_USE",
        StartError::Bind(_) => "BIND_FAILED",
        StartError::Upgrade { io, .. } if io.kind() == io::ErrorKind::AddrInUse => "ADDRESS_IN_USE",
        StartError::Upgrade { .. } => "UPGRADE_FAILED",
        StartError::NotRunning => "NOT_STARTED",
        StartError::Closed => "SERVER_CLOSED",
        StartError::Service { .. } => "SERVICE_FAILED",
        StartError::Cycle { .. } => "DEPENDENCY_CYCLE",
        _ => "START_FAILED",
    }
}
