//! Descriptors that pass from one process to another, over a Unix socket (SCM_RIGHTS).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The most that one message carries; the system's own bound is 253 on Linux.
pub const MAX_DESCRIPTORS: usize = 64;

/// Room for the control message with that many descriptors, aligned as it has to be.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [MaybeUninit<u8>; 512],
}

/// Sends bytes, at least one, with descriptors. How many bytes went out; the descriptors go with the
/// first. Does not wait, if the socket does not.
pub fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if bytes.is_empty() || descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control { bytes: [MaybeUninit::new(0); 512] };
    let size = size_of_val(descriptors);
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message header of zeros is a valid one: no name, no pieces, no control message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if !descriptors.is_empty() {
        message.msg_control = (&raw mut control).cast();
        // SAFETY: they only compute, and what they return is within `control`, whose size was
        // chosen for MAX_DESCRIPTORS; `BorrowedFd` has the layout of a `c_int`.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size as _) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if header.is_null() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size as _) as _;
            descriptors.as_ptr().cast::<u8>().copy_to_nonoverlapping(libc::CMSG_DATA(header), size);
        }
    }
    // SAFETY: `message` points to what outlives the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, NO_SIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Receives bytes into `buf`, and the descriptors that came with them into `descriptors`. How many
/// bytes; 0 at the end.
pub fn receive_with(
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = Control { bytes: [MaybeUninit::new(0); 512] };
    let mut piece = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `message` points to what outlives the call, with its sizes.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, CLOSE_ON_EXEC) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the headers that the system wrote are walked by its own rules; each descriptor in
    // them is ours from now on, and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let size = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
                for place in 0..size / size_of::<libc::c_int>() {
                    let descriptor = OwnedFd::from_raw_fd(data.add(place).read_unaligned());
                    close_on_exec(&descriptor)?;
                    descriptors.push(descriptor);
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other("descriptors were lost on their way: too many are open"));
    }
    Ok(received as usize)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSE_ON_EXEC: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSE_ON_EXEC: libc::c_int = 0;
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;
// Node.js and the standard library ignore SIGPIPE.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_SIGNAL: libc::c_int = 0;

/// For systems whose `recvmsg` cannot: children of this process must not hold the sockets.
fn close_on_exec(descriptor: &OwnedFd) -> io::Result<()> {
    if CLOSE_ON_EXEC != 0 {
        return Ok(());
    }
    // SAFETY: the descriptor is open.
    let set = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
