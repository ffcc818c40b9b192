//! Whose connections an endpoint takes.

mod filter;
mod header;

use std::fmt;
use std::time::Duration;

use millrace_proxy_protocol::{Addresses, Malformed};
use millrace_transport::{Address, Stream};

pub use filter::{Check, ConnectionCheck, ConnectionFilter, Unsaid, Verdict};
pub use header::{Others, ProxyProtocol};

/// Whose connections an endpoint takes, and how it knows whose they are.
#[derive(Debug, Default)]
pub struct Admission {
    /// Proxies that name their clients in front of each connection; none: nobody does.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which clients are taken. It is asked about the client that a proxy names, not about the proxy.
    pub filter: ConnectionFilter,
}

/// What can be said of a connection before anything is read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLook {
    /// Whoever is at its other end is the client, and no list is against it.
    Client,
    /// A proxy is at its other end, which has to name its client first.
    Proxy,
}

/// Why a connection was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It came from none of the proxies, and only they may connect.
    NoProxy,
    /// The header of a proxy is malformed.
    Malformed(Malformed),
    /// The header of a proxy did not come in time.
    Late(Duration),
    /// The connection ended before the header of its proxy had come.
    Ended,
    /// The client is on the list of those that are denied.
    Denied,
    /// The client is not on the list of those that are allowed.
    NotAllowed,
    /// The check of one's own says no.
    Checked,
    /// The check of one's own did not say whether it is taken.
    Unchecked(Unsaid),
}

impl Admission {
    /// Looks at a connection as far as that takes no time.
    pub fn look(&self, remote: &Address) -> Result<FirstLook, Refusal> {
        match &self.proxy_protocol {
            Some(proxies) if proxies.from.contains(remote) => return Ok(FirstLook::Proxy),
            Some(ProxyProtocol { others: Others::Refuse, .. }) => return Err(Refusal::NoProxy),
            _ => {}
        }
        self.filter.look_up(remote).map(|()| FirstLook::Client)
    }

    /// Reads what a proxy says of its connection: whose it is, or none if it is the proxy's own. Of what
    /// comes behind no byte is read.
    pub async fn read_header(&self, stream: &mut Stream) -> Result<Option<Addresses>, Refusal> {
        match &self.proxy_protocol {
            Some(proxies) => proxies.read(stream).await,
            None => Ok(None),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed(what) => return what.fmt(f),
            Refusal::Unchecked(unsaid) => return unsaid.fmt(f),
            Refusal::Late(limit) => {
                return write!(
                    f,
                    "no header of the PROXY protocol within {} ms",
                    limit.as_millis()
                );
            }
            Refusal::NoProxy => "it is none of the proxies that may connect here",
            Refusal::Ended => "it ended before its header of the PROXY protocol",
            Refusal::Denied => "its address is denied",
            Refusal::NotAllowed => "its address is not among those that are allowed",
            Refusal::Checked => "the check says no",
        })
    }
}

impl std::error::Error for Refusal {}
