use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use millrace_transport::Address;

use crate::checksum::crc32c;
use crate::{Addresses, LONGEST, Malformed, Said};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part that all have: the signature, version and command, family and protocol, and how much follows.
const FIXED: usize = 16;
/// Bytes for the path of a Unix socket.
const PATH: usize = 108;

// Version 2 in the upper half.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

/// The field (TLV) with the checksum of the whole header.
const CHECKSUM: u8 = 0x03;

pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Malformed("it begins as neither version does"));
    }
    let command = bytes.get(12).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return Err(Malformed("another version or command"));
    }
    let Some(length) = length(bytes) else { return Ok(None) };
    if length > LONGEST {
        return Err(Malformed("it is longer than what is read of one"));
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let said = match command {
        // What it holds is to be ignored.
        Some(LOCAL) => None,
        _ => said_in(header)?,
    };
    Ok(Some((said, length)))
}

/// How long the whole header is; none while that is not known.
fn length(bytes: &[u8]) -> Option<usize> {
    let [high, low] = *bytes.get(14..FIXED)?.first_chunk()?;
    Some(FIXED + usize::from(u16::from_be_bytes([high, low])))
}

pub(crate) fn missing(bytes: &[u8]) -> usize {
    length(bytes).unwrap_or(FIXED).saturating_sub(bytes.len())
}

fn said_in(header: &[u8]) -> Result<Said, Malformed> {
    let (family, mut rest) = (header[13], &header[FIXED..]);
    let said = match family {
        // Nothing is said of what stands in front of its end.
        UNSPECIFIED => return Ok(None),
        TCP4 | UDP4 => {
            let (client, server) = (take::<4>(&mut rest)?, take::<4>(&mut rest)?);
            ends(Ipv4Addr::from(client), Ipv4Addr::from(server), &mut rest)?
        }
        TCP6 | UDP6 => {
            let (client, server) = (take::<16>(&mut rest)?, take::<16>(&mut rest)?);
            ends(Ipv6Addr::from(client), Ipv6Addr::from(server), &mut rest)?
        }
        UNIX_STREAM | UNIX_DATAGRAM => {
            let (client, server) = (take::<PATH>(&mut rest)?, take::<PATH>(&mut rest)?);
            Addresses { client: Address::Unix(path(&client)), server: Address::Unix(path(&server)) }
        }
        _ => return Err(Malformed("a family or protocol that there is not")),
    };
    check_fields(header, rest)?;
    // Datagrams do not come in streams; such a header is as good as one that says nothing.
    Ok((!matches!(family, UDP4 | UDP6 | UNIX_DATAGRAM)).then_some(said))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, behind) =
        rest.split_first_chunk().ok_or(Malformed("it is too short for its addresses"))?;
    *rest = behind;
    Ok(*taken)
}

fn ends(
    client: impl Into<IpAddr>,
    server: impl Into<IpAddr>,
    rest: &mut &[u8],
) -> Result<Addresses, Malformed> {
    let mut end = |ip: IpAddr| {
        let port = u16::from_be_bytes(take::<2>(rest)?);
        Ok(Address::canonical(SocketAddr::new(ip, port)))
    };
    Ok(Addresses { client: end(client.into())?, server: end(server.into())? })
}

/// The path up to its first zero. One that could not be written in a line counts as none, and so does the
/// abstract name of a socket, which begins with a zero.
fn path(bytes: &[u8; PATH]) -> PathBuf {
    let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(path) {
        Ok(text) if !text.contains(char::is_control) => PathBuf::from(text),
        _ => PathBuf::new(),
    }
}

/// Skips the fields behind the addresses. They have to fit, and a checksum has to be right.
fn check_fields(header: &[u8], mut rest: &[u8]) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let [kind, high, low] = take::<3>(&mut rest).map_err(|_| FIELD)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, behind) = rest.split_at_checked(length).ok_or(FIELD)?;
        if kind == CHECKSUM {
            let at = header.len() - rest.len();
            let sum: [u8; 4] = value.try_into().map_err(|_| FIELD)?;
            let with_zeros = [&header[..at], &[0; 4], &header[at + 4..]];
            if crc32c(&with_zeros) != u32::from_be_bytes(sum) {
                return Err(Malformed("its checksum is wrong"));
            }
        }
        rest = behind;
    }
    Ok(())
}

const FIELD: Malformed = Malformed("a field goes beyond its end");

/// Both as they are where both are of IPv4, otherwise both as IPv6.
pub(crate) fn of_one_family(
    client: IpAddr,
    server: IpAddr,
) -> Result<(Ipv4Addr, Ipv4Addr), (Ipv6Addr, Ipv6Addr)> {
    let v6 = |ip| match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
        IpAddr::V6(ip) => ip,
    };
    match (client, server) {
        (IpAddr::V4(client), IpAddr::V4(server)) => Ok((client, server)),
        _ => Err((v6(client), v6(server))),
    }
}

pub(crate) fn write(said: Option<&Addresses>) -> Vec<u8> {
    let header = |command, family, parts: &[&[u8]]| {
        let length = parts.iter().map(|part| part.len()).sum::<usize>() as u16;
        let start = [command, family, (length >> 8) as u8, length as u8];
        [&SIGNATURE[..], &start, &parts.concat()].concat()
    };
    let Some(Addresses { client, server }) = said else {
        return header(LOCAL, UNSPECIFIED, &[]);
    };
    match (client, server) {
        (Address::Ip(client), Address::Ip(server)) => {
            let ports = [client.port().to_be_bytes(), server.port().to_be_bytes()].concat();
            match of_one_family(client.ip(), server.ip()) {
                Ok((client, server)) => {
                    header(PROXY, TCP4, &[&client.octets(), &server.octets(), &ports])
                }
                Err((client, server)) => {
                    header(PROXY, TCP6, &[&client.octets(), &server.octets(), &ports])
                }
            }
        }
        (Address::Unix(client), Address::Unix(server)) => {
            header(PROXY, UNIX_STREAM, &[&padded(client), &padded(server)])
        }
        _ => header(PROXY, UNSPECIFIED, &[]),
    }
}

/// A path as it stands in a header; empty if it does not fit.
fn padded(path: &Path) -> [u8; PATH] {
    let mut padded = [0; PATH];
    let bytes = path.as_os_str().as_encoded_bytes();
    if let Some(place) = padded.get_mut(..bytes.len()) {
        place.copy_from_slice(bytes);
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const ENDS: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

    fn parsed(bytes: &[u8]) -> Result<Said, Malformed> {
        let (said, length) = crate::parse(bytes)?.unwrap();
        assert_eq!(length, bytes.len());
        Ok(said)
    }

    /// A header with a checksum, put in front of another field.
    fn summed(sum: Option<u32>) -> Vec<u8> {
        let body = [ENDS, &[CHECKSUM, 0, 4, 0, 0, 0, 0], &[5, 0, 2, 1, 2]].concat();
        let mut bytes = header(PROXY, TCP4, &body);
        let at = FIXED + ENDS.len() + 3;
        let sum = sum.unwrap_or_else(|| crc32c(&[&bytes]));
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn fields_are_skipped_and_a_checksum_counts() {
        let plain = parsed(&header(PROXY, TCP4, ENDS)).unwrap().unwrap();
        assert_eq!(plain.client.to_string(), "192.0.2.1:56324");
        assert_eq!(plain.server.to_string(), "198.51.100.7:443");
        let fields: [&[u8]; 3] = [&[4, 0, 0], &[0x20, 0, 5, 1, 0, 0, 0, 0], &[0xee, 0, 1, 0]];
        let with_fields = header(PROXY, TCP4, &[ENDS, &fields.concat()].concat());
        assert_eq!(parsed(&with_fields), Ok(Some(plain.clone())));
        assert_eq!(parsed(&summed(None)), Ok(Some(plain)));
        assert!(parsed(&summed(Some(0))).is_err());
        let mut changed = summed(None);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(parsed(&changed), Err(Malformed("its checksum is wrong")));
    }

    #[test]
    fn what_says_nothing_of_a_stream_is_nobodys() {
        for (command, family, body) in [
            (LOCAL, UNSPECIFIED, &b""[..]),
            (LOCAL, TCP4, b"anything"),
            (LOCAL, 0xff, b""),
            (PROXY, UNSPECIFIED, b"anything"),
            (PROXY, UDP4, ENDS),
            (PROXY, UDP6, &[0; 36]),
            (PROXY, UNIX_DATAGRAM, &[0; 216]),
        ] {
            assert_eq!(parsed(&header(command, family, body)), Ok(None), "{family}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let mut other = header(PROXY, TCP4, ENDS);
        other[0] = b'\n';
        for bytes in [
            other,
            header(0x10, TCP4, ENDS),
            header(0x22, TCP4, ENDS),
            header(0x11, TCP4, ENDS),
            header(PROXY, 0x01, ENDS),
            header(PROXY, 0x10, ENDS),
            header(PROXY, 0x13, ENDS),
            header(PROXY, 0x41, ENDS),
            header(PROXY, TCP4, &ENDS[1..]),
            header(PROXY, TCP6, &[0; 35]),
            header(PROXY, UNIX_STREAM, &[0; 215]),
            header(PROXY, TCP4, &[ENDS, &[4, 0]].concat()),
            header(PROXY, TCP4, &[ENDS, &[4, 0, 2, 0]].concat()),
            header(PROXY, TCP4, &[ENDS, &[CHECKSUM, 0, 3, 0, 0, 0]].concat()),
            header(PROXY, TCP4, &[ENDS, &[CHECKSUM, 0, 0]].concat()),
            header(PROXY, TCP4, &[0; LONGEST - FIXED + 1])[..FIXED].to_vec(),
        ] {
            assert!(crate::parse(&bytes).is_err(), "{bytes:?}");
        }
        let longest = header(LOCAL, UNSPECIFIED, &[0; LONGEST - FIXED]);
        assert_eq!(parsed(&longest), Ok(None));
    }

    #[test]
    fn a_path_that_is_none_for_a_line_is_left_out() {
        let ends = |client: &[u8]| {
            let mut body = [0; 216];
            body[..client.len()].copy_from_slice(client);
            parsed(&header(PROXY, UNIX_STREAM, &body)).unwrap().unwrap().client
        };
        assert_eq!(ends(b"/run/a"), Address::Unix("/run/a".into()));
        for odd in [&b"\0abstract"[..], b"/a\nb", b"/\xff", b""] {
            assert_eq!(ends(odd), Address::Unix("".into()));
        }
    }
}
