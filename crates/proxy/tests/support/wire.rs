use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::secure::Secure;

/// One end of a connection, read and written byte by byte.
pub struct Wire {
    pub stream: TcpStream,
    buf: Vec<u8>,
    /// Over TLS, what writes to and reads from the same socket.
    secure: Option<Box<dyn Secure>>,
    /// The other side ended without saying so over TLS.
    pub truncated: bool,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The trailers of a chunked body, as they came.
    pub trailers: String,
}

impl Response {
    /// The value of a field, if there is exactly one.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = fields(&self.head, name);
        assert!(all.len() < 2, "several {name}: {}", self.head);
        all.first().copied()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

pub fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).unwrap();
        let wire = Wire { stream, buf: Vec::new(), secure: None, truncated: false };
        wire.patience(PATIENCE);
        wire
    }

    /// How long reading and writing may take.
    pub fn patience(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        // TLS reads where it cannot write.
        self.stream.set_write_timeout(Some(limit)).unwrap();
    }

    /// The same connection over TLS; the handshake is done with the first bytes.
    pub fn over(mut self, secure: impl FnOnce(TcpStream) -> Box<dyn Secure>) -> Wire {
        self.secure = Some(secure(self.stream.try_clone().unwrap()));
        self
    }

    /// What TLS came to.
    pub fn secure(&mut self) -> &mut dyn Secure {
        &mut **self.secure.as_mut().unwrap()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write(bytes.as_ref()).unwrap();
    }

    /// For what may be refused on the way.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).is_ok()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.secure {
            Some(secure) => secure.write_all(bytes).and_then(|()| secure.flush()),
            None => self.stream.write_all(bytes),
        }
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        let read = match &mut self.secure {
            Some(secure) => secure.read(&mut piece),
            None => self.stream.read(&mut piece),
        };
        match read {
            Ok(count) => {
                self.buf.extend_from_slice(&piece[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // Or a handshake that came to nothing.
            Err(error)
                if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
            {
                self.truncated = true;
                false
            }
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.buf)),
        }
    }

    /// Everything up to an empty line; none if the connection ends first.
    pub fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buf.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.buf.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    #[track_caller]
    pub fn head(&mut self) -> String {
        let head = self.try_head();
        head.unwrap_or_else(|| panic!("no head, but {:?}", String::from_utf8_lossy(&self.buf)))
    }

    /// Exactly so many bytes; none if the connection ends first.
    pub fn try_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buf.len() < count {
            if !self.fill() {
                return None;
            }
        }
        Some(self.buf.drain(..count).collect())
    }

    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.try_bytes(count).unwrap()
    }

    /// Whatever comes next; nothing at the end.
    pub fn piece(&mut self) -> Vec<u8> {
        if self.buf.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.buf)
    }

    /// So many bytes at most, and one at least; none at the end.
    pub fn up_to(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.buf.is_empty() && !self.fill() {
            return None;
        }
        Some(self.buf.drain(..most.min(self.buf.len())).collect())
    }

    /// The next line with its end; none if the connection ends first.
    pub fn try_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buf.windows(2).position(|window| window == b"\r\n") {
                let line = self.buf.drain(..end + 2).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// A chunked body and its trailers; none if it is cut short.
    pub fn try_chunked(&mut self) -> Option<(Vec<u8>, String)> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(self.try_line()?.trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.try_bytes(size)?);
            assert_eq!(self.try_bytes(2)?, b"\r\n");
        }
        let mut trailers = String::new();
        loop {
            match self.try_line()?.as_str() {
                "\r\n" => return Some((body, trailers)),
                line => trailers.push_str(line),
            }
        }
    }

    /// A body framed as its head says; none if it is cut short.
    pub fn try_body(&mut self, head: &str) -> Option<(Vec<u8>, String)> {
        let (lengths, codings) =
            (fields(head, "content-length"), fields(head, "transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "framed twice: {head}");
        match (lengths.first(), codings.first()) {
            (Some(length), _) => Some((self.try_bytes(length.parse().unwrap())?, String::new())),
            (_, Some(coding)) => {
                assert_eq!(*coding, "chunked");
                self.try_chunked()
            }
            _ => Some((Vec::new(), String::new())),
        }
    }

    /// What an origin gets: head and body.
    #[track_caller]
    pub fn request(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        let body = self.try_body(&head).unwrap().0;
        (head, body)
    }

    /// The next response, also an interim one. Without framing its body ends with the connection.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET").unwrap()
    }

    /// The same for a method; none if it is cut short.
    pub fn response_to(&mut self, method: &str) -> Option<Response> {
        let head = self.try_head()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let empty = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let framed = !fields(&head, "content-length").is_empty()
            || !fields(&head, "transfer-encoding").is_empty();
        let (body, trailers) = match (empty, framed) {
            (true, _) => Default::default(),
            (_, true) => self.try_body(&head)?,
            _ => (self.rest(), String::new()),
        };
        Some(Response { status, head, body, trailers })
    }

    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// Everything up to the end of the connection, however it ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buf)
    }

    /// Reads to the end of the connection, however it ends, and keeps nothing.
    pub fn drop_all(&mut self) {
        let mut piece = [0; 64 * 1024];
        while self.stream.read(&mut piece).is_ok_and(|count| count > 0) {}
    }

    /// Waits for the end of the connection; nothing may come before it.
    #[track_caller]
    pub fn ended(&mut self) {
        let rest = self.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Whether the connection ends with a reset. What comes before is dropped.
    pub fn is_reset(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends this side as it should be ended.
    pub fn end(&mut self) {
        match &mut self.secure {
            Some(secure) => secure.goodbye(),
            None => self.end_sending(),
        }
    }

    /// Makes the end of this side a reset.
    pub fn kill(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Returns whatever comes until it ends.
    pub fn echo(&mut self) {
        loop {
            match self.piece() {
                piece if piece.is_empty() => return,
                piece => self.send(piece),
            }
        }
    }

    /// Sends for as long as it is taken; how many bytes were.
    pub fn flood(&mut self) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut total = 0;
        loop {
            match self.stream.write(&piece) {
                Ok(count) => total += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
                Err(error) => panic!("{error}, after {total} bytes"),
            }
        }
    }
}

/// A server whose every connection is played by a script on a thread of its own.
pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// `script` gets each connection with its number, the first being 0.
    pub fn new(script: impl Fn(usize, Wire) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, script) = (Arc::new(AtomicUsize::new(0)), Arc::new(script));
        let count = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, wire) = (script.clone(), Wire::new(stream.unwrap()));
                thread::spawn(move || script(number, wire));
            }
        });
        Origin { address, connections }
    }

    /// Answers every request with the same bytes, for as long as the connection lasts.
    pub fn says(answer: impl AsRef<[u8]>) -> Origin {
        let answer = answer.as_ref().to_vec();
        Origin::new(move |_, mut wire| {
            while let Some(head) = wire.try_head() {
                if wire.try_body(&head).is_none() || !wire.try_send(&answer) {
                    return;
                }
            }
        })
    }

    /// Answers every request with its own head and body as text.
    pub fn echoes() -> Origin {
        Origin::new(|_, mut wire| {
            while let Some(head) = wire.try_head() {
                let Some((body, trailers)) = wire.try_body(&head) else { return };
                let body = [head.as_bytes(), &body, trailers.as_bytes()].concat();
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
                wire.send(body);
            }
        })
    }

    /// Nobody listens there.
    pub fn nowhere() -> SocketAddr {
        // Kept, without listening: a port that was let go of could become another test's.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget(socket);
        address
    }

    /// Connecting there hangs for as long as the sockets live: the backlog is full.
    pub fn never_accepts() -> (SocketAddr, Vec<Socket>) {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address);
            sockets.push(filler);
        }
        (address.as_socket().unwrap(), sockets)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
