use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpSocket;

/// Makes a socket that connects from a local address, and lets `connect` choose the port. Only
/// `connect` knows the other end: the same port may then serve towards several.
pub(crate) fn bind(socket: &TcpSocket, ip: IpAddr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    leave_port_to_connect(socket)?;
    socket.bind(SocketAddr::new(ip, 0))
}

#[cfg(target_os = "linux")]
fn leave_port_to_connect(socket: &TcpSocket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer and the
    // length are those of one `c_int` that outlives the call. No crate in use wraps this option.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
