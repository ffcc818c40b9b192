//! What passes over an upgrade socket: frames of a length (u32, big-endian, of what follows it), a
//! kind (u8), the number of descriptors that came with it (u8), and a payload.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use millrace_listeners::ListeningSocket;
use millrace_listeners::handing::{MAX_DESCRIPTORS, receive_with, send_with};
use millrace_transport::Address;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Successor: what it speaks.
pub(super) const HELLO: u8 = 1;
/// Predecessor: sockets, and what they are.
pub(super) const SOCKETS: u8 = 2;
/// Predecessor: these were all; the number of its process (u32, big-endian), which the kernel does not tell: of a
/// socket that was handed on it names the process that was the first to listen. Version 2 at first had no payload.
pub(super) const COMPLETE: u8 = 3;
/// Successor: it is ready to serve; which sockets it has taken.
pub(super) const READY: u8 = 4;
/// Predecessor: the sockets are the successor's, the upgrade socket too.
pub(super) const GO: u8 = 5;
/// Predecessor: it goes on; why.
pub(super) const REFUSED: u8 = 6;
/// Successor: it accepts on them. Only now the predecessor may end.
pub(super) const SERVES: u8 = 7;

pub(super) const VERSION: u8 = 2;
const MAX_FRAME: usize = 64 * 1024;
/// Sockets that one process hands over.
const MAX_SOCKETS: usize = 4096;

/// One frame.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// A connection between two processes.
pub(super) struct Channel {
    stream: UnixStream,
    input: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Over this stream, if the other side is the same user, or root. Its number, if known.
    pub(super) fn over(stream: UnixStream) -> io::Result<(Self, Option<i32>)> {
        let peer = stream.peer_cred()?;
        // SAFETY: it only reads a number of the process.
        let own = unsafe { libc::geteuid() };
        if peer.uid() != own && peer.uid() != 0 {
            let why = format!("the process at the other end belongs to user {}", peer.uid());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let (input, descriptors) = Default::default();
        Ok((Channel { stream, input, descriptors }, peer.pid()))
    }

    pub(super) async fn send(
        &mut self,
        kind: u8,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let (length, count) = (u32::try_from(payload.len() + 2), u8::try_from(descriptors.len()));
        let (Ok(length), Ok(count)) = (length, count) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend([kind, count]);
        frame.extend(payload);
        let (mut rest, mut descriptors) = (&frame[..], descriptors);
        while !rest.is_empty() {
            let send = || send_with(self.stream.as_fd(), rest, descriptors);
            let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
            (rest, descriptors) = (&rest[sent..], &[]);
        }
        Ok(())
    }

    /// The next frame; none at the end, or where a frame is cut short by it.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let mut buf = [0; 4096];
            let Channel { stream, descriptors, .. } = self;
            let receive = || receive_with(stream.as_fd(), &mut buf, descriptors);
            let received = match stream.async_io(Interest::READABLE, receive).await {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            if received == 0 {
                return Ok(None);
            }
            self.input.extend(&buf[..received]);
        }
    }

    fn take(&mut self) -> io::Result<Option<Message>> {
        let Some((length, rest)) = self.input.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if !(2..=MAX_FRAME).contains(&length) {
            return Err(unexpected());
        }
        let Some(&[kind, count, ref payload @ ..]) = rest.get(..length) else { return Ok(None) };
        let (payload, count) = (payload.to_vec(), usize::from(count));
        // They are here before the first byte of their frame.
        if self.descriptors.len() < count {
            return Err(unexpected());
        }
        let descriptors = self.descriptors.drain(..count).collect();
        self.input.drain(..4 + length);
        Ok(Some(Message { kind, payload, descriptors }))
    }

    /// Sends sockets, as many messages as it takes.
    pub(super) async fn send_sockets(&mut self, sockets: &[ListeningSocket]) -> io::Result<()> {
        for some in sockets.chunks(MAX_DESCRIPTORS) {
            let mut payload = Vec::new();
            for socket in some {
                write_address(&mut payload, &socket.asked)?;
                write_address(&mut payload, &socket.bound)?;
            }
            let descriptors: Vec<_> = some.iter().map(|socket| socket.socket.as_fd()).collect();
            self.send(SOCKETS, &payload, &descriptors).await?;
        }
        self.send(COMPLETE, &std::process::id().to_be_bytes(), &[]).await
    }

    /// Receives all that [`Channel::send_sockets`] sends: the sockets, and the number of the other process, if it
    /// tells.
    pub(super) async fn receive_sockets(
        &mut self,
    ) -> io::Result<(Vec<ListeningSocket>, Option<u32>)> {
        let mut sockets = Vec::new();
        loop {
            let Some(message) = self.receive().await? else {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process left"));
            };
            match message.kind {
                COMPLETE => {
                    let process = message.payload.first_chunk().copied().map(u32::from_be_bytes);
                    return Ok((sockets, process));
                }
                SOCKETS => {}
                REFUSED => return Err(message.refusal()),
                _ => return Err(unexpected()),
            }
            let mut rest = &message.payload[..];
            for descriptor in message.descriptors {
                let (asked, bound) = (read_address(&mut rest)?, read_address(&mut rest)?);
                sockets.push(ListeningSocket::found(asked, bound, descriptor.into())?);
            }
            if sockets.len() > MAX_SOCKETS {
                return Err(unexpected());
            }
        }
    }
}

impl Message {
    /// Why the other side has refused.
    pub(super) fn refusal(&self) -> io::Error {
        io::Error::other(String::from_utf8_lossy(&self.payload).into_owned())
    }

    /// The places of sockets.
    pub(super) fn places(&self) -> Vec<usize> {
        let places = self.payload.chunks_exact(2);
        places.map(|place| usize::from(place[0]) << 8 | usize::from(place[1])).collect()
    }
}

/// A payload that is read by [`Message::places`].
pub(super) fn places(places: &[usize]) -> Vec<u8> {
    places.iter().flat_map(|place| (*place as u16).to_be_bytes()).collect()
}

/// The other side does not speak as it should.
pub(super) fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process speaks another language")
}

fn write_address(to: &mut Vec<u8>, address: &Address) -> io::Result<()> {
    let text = address.to_string();
    let (kind, bytes) = match address {
        Address::Ip(_) => (0, text.as_bytes()),
        Address::Unix(path) => (1, path.as_os_str().as_bytes()),
    };
    let length = u8::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.extend([kind, length]);
    to.extend(bytes);
    Ok(())
}

fn read_address(from: &mut &[u8]) -> io::Result<Address> {
    let &[kind, length, ref rest @ ..] = *from else { return Err(unexpected()) };
    let (bytes, rest) = rest.split_at_checked(length.into()).ok_or_else(unexpected)?;
    *from = rest;
    match kind {
        0 => {
            let text = std::str::from_utf8(bytes).map_err(|_| unexpected())?;
            Ok(Address::Ip(text.parse().map_err(|_| unexpected())?))
        }
        1 => Ok(Address::Unix(OsStr::from_bytes(bytes).into())),
        _ => Err(unexpected()),
    }
}
