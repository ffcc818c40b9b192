use std::time::Duration;

/// What can be set on an app of connections.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// How long neither side may send anything. Default: 10 min.
    pub idle_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        TcpOptions { idle_timeout: Some(Duration::from_secs(600)) }
    }
}
