use millrace_transport::Address;

use crate::{Connection, H2Slot};

/// What one request is sent on.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // moved a few times for each request, never kept in numbers
pub enum Link {
    /// A connection of its own, for HTTP/1.1.
    H1(Connection),
    /// A place on a connection that others use too, for HTTP/2.
    H2(H2Slot),
}

impl Link {
    /// The address it leads to, after names are resolved.
    pub fn remote(&self) -> &Address {
        match self {
            Link::H1(connection) => &connection.remote,
            Link::H2(slot) => slot.remote(),
        }
    }

    /// Whether it had served a request before.
    pub fn is_reused(&self) -> bool {
        match self {
            Link::H1(connection) => connection.is_reused(),
            Link::H2(slot) => slot.is_reused(),
        }
    }
}
