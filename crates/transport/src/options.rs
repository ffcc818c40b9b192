use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// When the system probes a silent TCP connection, and when it gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// Unanswered probes before the connection is dead.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 3 }
    }
}

impl Keepalive {
    /// Asks for it on a TCP socket. The system counts whole seconds, of which there is at least
    /// one here: it refuses zero.
    pub fn apply<'s, S>(&self, socket: &'s S) -> io::Result<()>
    where
        SockRef<'s>: From<&'s S>,
    {
        let second = Duration::from_secs(1);
        let keepalive = TcpKeepalive::new()
            .with_time(self.idle.max(second))
            .with_interval(self.interval.max(second))
            .with_retries(self.count.max(1));
        SockRef::from(socket).set_tcp_keepalive(&keepalive)
    }
}

/// What is asked of the system for a listening socket and the connections it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketOptions {
    /// Connections the system holds until they are accepted.
    pub backlog: u32,
    /// Keep-alive probes on accepted connections.
    pub keepalive: Option<Keepalive>,
    /// Whether an IPv6 listener refuses IPv4 clients; the system's default where absent.
    pub ipv6_only: Option<bool>,
    /// Lets several processes listen on the same address.
    pub reuse_port: bool,
    /// Clients that may send data with their SYN (TCP Fast Open, RFC 7413) and are not known to be who
    /// they say yet, at most. None: nobody may.
    pub fast_open: Option<u32>,
    /// Size of the system's receive buffer, in bytes.
    pub recv_buffer: Option<usize>,
    /// Size of the system's send buffer, in bytes.
    pub send_buffer: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            backlog: 1024,
            keepalive: None,
            ipv6_only: None,
            reuse_port: false,
            fast_open: None,
            recv_buffer: None,
            send_buffer: None,
        }
    }
}

impl SocketOptions {
    /// Sets the sizes of the system's buffers. Before `listen` or `connect`, or the window that
    /// TCP announces does not follow.
    pub fn apply_buffers<'s, S>(&self, socket: &'s S) -> io::Result<()>
    where
        SockRef<'s>: From<&'s S>,
    {
        let socket = SockRef::from(socket);
        if let Some(size) = self.recv_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalive_reaches_the_socket_and_never_asks_for_zero() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let zero = Keepalive { idle: Duration::ZERO, interval: Duration::ZERO, count: 0 };
        zero.apply(&listener).unwrap();
        Keepalive::default().apply(&listener).unwrap();
        let socket = SockRef::from(&listener);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
