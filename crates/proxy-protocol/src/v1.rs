use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use millrace_transport::Address;

use crate::{Addresses, Malformed, Said};

/// The longest line, its end included.
const LONGEST: usize = 107;
const START: &[u8] = b"PROXY ";
pub(crate) const SHORTEST: usize = b"PROXY UNKNOWN\r\n".len();

pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let known = bytes.len().min(START.len());
    if bytes[..known] != START[..known] {
        return Err(Malformed("it does not begin with PROXY"));
    }
    let looked_at = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = looked_at.iter().position(|byte| byte.is_ascii_control()) else {
        // Its last two bytes end it.
        let may_go_on = bytes.len() < LONGEST - 1;
        return if may_go_on { Ok(None) } else { Err(Malformed("a line without an end")) };
    };
    match &looked_at[end..] {
        [b'\r'] if end + 2 <= LONGEST => Ok(None),
        [b'\r', b'\n', ..] => {
            let line = std::str::from_utf8(&looked_at[START.len().min(end)..end]);
            let said = line.map_err(|_| Malformed("bytes that are no text"))?;
            Ok(Some((said_in(said)?, end + 2)))
        }
        _ => Err(Malformed("a control character in its line")),
    }
}

fn said_in(line: &str) -> Result<Said, Malformed> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(None);
    }
    let mut parts = line.split(' ');
    let family = parts.next();
    let (Some(client), Some(server), Some(client_port), Some(server_port), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed("not two addresses and two ports"));
    };
    let end = |ip: &str, digits: &str| {
        let ip = match family {
            Some("TCP4") => address::<Ipv4Addr>(ip)?,
            Some("TCP6") => address::<Ipv6Addr>(ip)?,
            _ => return Err(Malformed("neither TCP4, TCP6 nor UNKNOWN")),
        };
        Ok(Address::canonical(SocketAddr::new(ip, port(digits)?)))
    };
    Ok(Some(Addresses { client: end(client, client_port)?, server: end(server, server_port)? }))
}

fn address<T: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Malformed> {
    text.parse::<T>().map(Into::into).map_err(|_| Malformed("an address that is none"))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    let port = text.parse().ok().filter(|_| is_plain);
    port.ok_or(Malformed("a port that is none"))
}

pub(crate) fn missing(bytes: &[u8]) -> usize {
    let end = if bytes.ends_with(b"\r") { 1 } else { 2 };
    // What is to come beside UNKNOWN: five spaces in all, each with a character behind it.
    let spaces = match bytes.get(START.len()) {
        Some(b'T') => bytes.iter().filter(|byte| **byte == b' ').count(),
        _ => 5,
    };
    (end + 2 * 5_usize.saturating_sub(spaces)).max(SHORTEST.saturating_sub(bytes.len()))
}

pub(crate) fn write(said: Option<&Addresses>) -> Vec<u8> {
    let ends = said.and_then(|ends| Some((ends.client.socket_addr()?, ends.server.socket_addr()?)));
    let Some((client, server)) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let ports = (client.port(), server.port());
    let line = match crate::v2::of_one_family(client.ip(), server.ip()) {
        Ok((client, server)) => format!("TCP4 {client} {server}"),
        Err((client, server)) => format!("TCP6 {client} {server}"),
    };
    format!("PROXY {line} {} {}\r\n", ports.0, ports.1).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_specification_shows_is_read() {
        for line in
            ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"]
        {
            assert_eq!(crate::parse(line.as_bytes()), Ok(Some((None, line.len()))));
        }
        let line = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
        let (said, length) = crate::parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!((said.unwrap().client.to_string(), length), ("192.168.0.1:56324".into(), 47));
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert!(matches!(crate::parse(longest.as_bytes()), Ok(Some((Some(_), 104)))));
        let full = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST - 16));
        assert_eq!(crate::parse(full.as_bytes()), Ok(Some((None, LONGEST))));
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "POST / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
            "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n",
            "PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP6 [::1] ::1 1 1\r\n",
            "PROXY TCP6 fe80::1%1 ::1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 00 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
            "PROXY TCP4\t1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rX",
            "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY UNKNOWNX\r\n",
        ] {
            assert!(crate::parse(line.as_bytes()).is_err(), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        for length in 0..long.len() {
            let is_over = length >= LONGEST - 1;
            assert_eq!(crate::parse(&long.as_bytes()[..length]).is_err(), is_over, "{length}");
        }
        let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST - 15));
        assert!(crate::parse(late.as_bytes()).is_err());
    }
}
