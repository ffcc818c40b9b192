use std::net::{IpAddr, SocketAddr};

use millrace_error::Error;
use millrace_message::{Fields, RequestHead};
use millrace_proxy::{Exchange, UpstreamInfo};
use millrace_records::write_fields;
use millrace_server::ConnInfo;
use millrace_transport::Address;

use super::Item;
use super::item::at;

/// The texts of an item, in the order in which they are appended.
pub(crate) trait Section {
    /// Everything that stays the same for a request.
    fn request(&mut self, ex: &Exchange);
    /// Who the request is sent to.
    fn upstream(&mut self, upstream: &UpstreamInfo, address_known: bool);
    /// Whether the upstream connection had served a request before.
    fn reused(&mut self, reused: bool);
    /// The request that goes upstream.
    fn upstream_request(&mut self, head: &RequestHead);
    /// The fields of a response, and its status.
    fn response(&mut self, status: u16, fields: &Fields);
    /// What went wrong.
    fn error(&mut self, error: &Error);
    /// The trailers of a response.
    fn trailers(&mut self, fields: &Fields);
    /// A piece of the body of the request that has the slot `parent`.
    fn body(&mut self, parent: u32, data: &[u8], flags: i32);
    /// The connection that has closed.
    fn connection(&mut self, id: u64);
    /// A connection for an app.
    fn stream(&mut self, conn: &ConnInfo);
    /// What an app has to know of the request beside its head.
    fn app(&mut self, ex: &Exchange);
    /// Times and byte counts.
    fn numbers(&mut self, ex: &Exchange);
}

impl Section for Item {
    fn request(&mut self, ex: &Exchange) {
        let request = &ex.request;
        let host = request.host();
        let text = &mut self.text;
        text.reserve(request.fields.text_len() + request.fields.len() * 2 + 256);
        text.extend_from_slice(&request.target);
        text.extend_from_slice(request.method.as_str().as_bytes());
        text.extend_from_slice(host.as_bytes());
        line(text, ex.id);
        text.push(b'\n');
        text.extend_from_slice(request.version.as_str().as_bytes());
        address(text, &ex.connection.remote);
        address(text, &ex.connection.local);
        line(text, ex.connection.id);
        line(text, u64::from(ex.connection_requests));
        client(text, ex);
        text.push(b'\n');
        text.extend(
            ex.filters().unwrap_or_default().iter().map(|is_for_it| b'0' + u8::from(*is_for_it)),
        );
        write_fields(text, &request.fields);
        self.head.ints[at::TARGET] = request.target.len() as i32;
        self.head.ints[at::METHOD] = request.method.as_str().len() as i32;
        self.head.ints[at::HOST] = host.len() as i32;
        self.head.ints[at::REQUEST] = text.len() as i32;
    }

    fn upstream(&mut self, upstream: &UpstreamInfo, address_known: bool) {
        let start = self.text.len();
        let mut digits = itoa::Buffer::new();
        self.text.extend_from_slice(digits.format(upstream.peer.id).as_bytes());
        self.text.push(b'\n');
        if address_known {
            match (&upstream.address, upstream.address.port()) {
                (Address::Ip(SocketAddr::V4(_)), Some(port)) => {
                    host(&mut self.text, &upstream.address);
                    self.text.push(b':');
                    self.text.extend_from_slice(digits.format(port).as_bytes());
                }
                (address, _) => self.text.extend_from_slice(address.to_string().as_bytes()),
            }
        }
        self.head.ints[at::UPSTREAM] = (self.text.len() - start) as i32;
    }

    fn reused(&mut self, reused: bool) {
        self.head.ints[at::FLAGS] |= i32::from(reused);
    }

    fn stream(&mut self, conn: &ConnInfo) {
        let text = &mut self.text;
        text.extend_from_slice(itoa::Buffer::new().format(conn.id).as_bytes());
        address(text, &conn.remote);
        address(text, &conn.local);
        self.head.ints[at::REQUEST] = text.len() as i32;
    }

    fn app(&mut self, ex: &Exchange) {
        self.head.ints[at::FLAGS] |=
            i32::from(ex.body.exists()) << 3 | i32::from(ex.connection.tls.is_some()) << 4;
    }

    fn upstream_request(&mut self, head: &RequestHead) {
        let start = self.text.len();
        let text = &mut self.text;
        text.extend_from_slice(&head.target);
        text.push(b'\n');
        text.extend_from_slice(head.method.as_str().as_bytes());
        text.push(b'\n');
        text.extend_from_slice(head.host().as_bytes());
        write_fields(text, &head.fields);
        self.head.ints[at::HEAD] = (self.text.len() - start) as i32;
    }

    fn response(&mut self, status: u16, response: &Fields) {
        let start = self.text.len();
        write_fields(&mut self.text, response);
        self.head.ints[at::HEAD] = (self.text.len() - start) as i32;
        self.head.ints[at::STATUS] = i32::from(status);
    }

    fn trailers(&mut self, trailers: &Fields) {
        let start = self.text.len();
        write_fields(&mut self.text, trailers);
        self.head.ints[at::HEAD] = (self.text.len() - start) as i32;
    }

    fn body(&mut self, parent: u32, data: &[u8], flags: i32) {
        self.text.extend_from_slice(data);
        self.head.ints[at::REQUEST] = data.len() as i32;
        self.head.ints[at::TARGET] = parent as i32;
        self.head.ints[at::FLAGS] = flags;
    }

    fn error(&mut self, error: &Error) {
        let start = self.text.len();
        let text = &mut self.text;
        text.extend_from_slice(error.code().as_str().as_bytes());
        text.push(b'\n');
        text.extend_from_slice(error.source().as_str().as_bytes());
        text.extend_from_slice(if error.can_retry() { b"\n1" } else { b"\n0" });
        line(text, u64::from(error.status()));
        text.push(b'\n');
        text.extend_from_slice(error.phase().unwrap_or_default().as_bytes());
        text.push(b'\n');
        text.extend(error.reason().chars().map(|c| if c == '\n' { b' ' } else { latin1(c) }));
        self.head.ints[at::ERROR] = (self.text.len() - start) as i32;
    }

    fn connection(&mut self, id: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        self.head.ints[at::UPSTREAM] = self.text.len() as i32;
    }

    fn numbers(&mut self, ex: &Exchange) {
        let ms = |length: Option<std::time::Duration>| {
            length.map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        let timings = &ex.timings;
        let started = timings.started_at.duration_since(std::time::UNIX_EPOCH);
        self.head.doubles[0] = ms(started.ok());
        self.head.doubles[1] = ms(timings.connect);
        self.head.doubles[2] = ms(timings.first_byte);
        self.head.doubles[3] = ms(timings.total);
        self.head.doubles[4] = ex.received as f64;
        self.head.doubles[5] = ex.sent as f64;
        self.head.ints[at::ATTEMPT] = ex.attempt as i32;
        self.head.ints[at::FLAGS] |= i32::from(ex.response_started) << 1;
        self.head.ints[at::FLAGS] |= i32::from(ex.last_of_connection) << 2;
    }
}

fn latin1(c: char) -> u8 {
    u8::try_from(u32::from(c)).unwrap_or(b'?')
}

fn line(text: &mut Vec<u8>, number: u64) {
    text.push(b'\n');
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn address(text: &mut Vec<u8>, address: &Address) {
    text.push(b'\n');
    host(text, address);
    text.push(b'\n');
    if let Some(port) = address.port() {
        text.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
}

/// Who the request comes from, if not from the other end of the socket: address and port.
fn client(text: &mut Vec<u8>, ex: &Exchange) {
    text.push(b'\n');
    if ex.client != ex.connection.remote {
        host(text, &ex.client);
        text.push(b' ');
        text.extend_from_slice(
            itoa::Buffer::new().format(ex.client.port().unwrap_or(0)).as_bytes(),
        );
    }
}

/// The usual kind of address is written without the machinery of formatting.
fn host(text: &mut Vec<u8>, address: &Address) {
    let Some(IpAddr::V4(ip)) = address.ip() else {
        text.extend(address.host().chars().map(|c| if c == '\n' { b'?' } else { latin1(c) }));
        return;
    };
    for (index, part) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            text.push(b'.');
        }
        text.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
    }
}
