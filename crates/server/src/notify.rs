//! What a service manager is told of the process, by the protocol of systemd's `sd_notify(3)`.

use std::io;
use std::os::unix::net::UnixDatagram;

/// Sends `state`, lines such as `READY=1`, to the socket that the manager has named in `NOTIFY_SOCKET`:
/// a path, or behind `@` an abstract name.
pub fn notify_manager(socket: &str, state: &str) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    match socket.strip_prefix('@') {
        None => from.send_to(state.as_bytes(), socket).map(drop),
        Some(name) => send_to_abstract(&from, name, state),
    }
}

#[cfg(target_os = "linux")]
fn send_to_abstract(from: &UnixDatagram, name: &str, state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    from.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(name)?).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send_to_abstract(_from: &UnixDatagram, _name: &str, _state: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told() {
        let path = std::env::temp_dir().join(format!("millrace-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        notify_manager(path.to_str().unwrap(), "READY=1").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut heard = [0; 16];
        assert_eq!(manager.recv(&mut heard).unwrap(), 7);
        assert_eq!(&heard[..7], b"READY=1");
        assert!(notify_manager(path.to_str().unwrap(), "READY=1").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_told() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        let name = format!("millrace-notify-{}", std::process::id());
        let manager = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&manager).unwrap();
        notify_manager(&format!("@{name}"), "STOPPING=1").unwrap();
        assert_eq!(manager.recv(&mut [0; 16]).unwrap(), 10);
    }
}
