//! What is read of blocks that `h2` has written, with its table and its code.

use http::Request;
use tokio::io::AsyncReadExt;

use super::Blocks;
use crate::h2::scan::{CONTINUATION, END_HEADERS, HEADERS, Scanner, Seen};

const PREFACE: usize = 24;
const REQUESTS: usize = 90;

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        (self.0 >> 33) as usize % sides
    }

    fn text(&mut self, most: usize) -> String {
        let length = self.roll(most + 1);
        (0..length).map(|_| char::from(b'!' + self.roll(94) as u8)).collect()
    }
}

fn request(dice: &mut Dice) -> Request<()> {
    let path = format!("/{}", dice.text(20).replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let uri = format!("https://host{}{path}", dice.roll(3));
    let mut request = Request::builder().method(["GET", "POST", "QUIZ"][dice.roll(3)]).uri(uri);
    for _ in 0..dice.roll(12) {
        let name = ["accept", "cookie", "x-a", "x-bcd", "user-agent", "referer"][dice.roll(6)];
        let most = if dice.roll(10) == 0 { 5000 } else { 40 };
        request = request.header(name, dice.text(most));
    }
    request.body(()).unwrap()
}

#[tokio::test]
async fn blocks_are_read_as_h2_wrote_them() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut send, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let mut dice = Dice(1);
    let requests: Vec<_> = (0..REQUESTS).map(|_| request(&mut dice)).collect();
    let mut streams = Vec::new();
    for request in &requests {
        streams.push(send.send_request(request.clone(), false).unwrap());
    }
    let (mut scanner, mut blocks) = (Scanner::after(PREFACE), Blocks::new());
    let mut found = 0;
    let mut buf = [0; 1000];
    while found < REQUESTS {
        let count = far.read(&mut buf).await.unwrap();
        let mut bytes = &buf[..count];
        while let Some(seen) = scanner.next(&mut bytes) {
            match seen {
                Seen::Head(frame) if frame.kind == HEADERS => blocks.begin(),
                Seen::Payload(frame, piece, is_last)
                    if matches!(frame.kind, HEADERS | CONTINUATION) =>
                {
                    blocks.read(piece);
                    if is_last && frame.has(END_HEADERS) {
                        let (block, request) = (&blocks.block, &requests[found]);
                        let uri = request.uri();
                        assert_eq!(block.method, request.method().as_str().as_bytes());
                        assert_eq!(block.path, uri.path().as_bytes());
                        assert_eq!(block.authority, uri.authority().unwrap().as_str().as_bytes());
                        let pseudo = ":method:path:authority:schemehttps".len()
                            + block.method.len()
                            + block.path.len()
                            + block.authority.len();
                        let fields = request.headers();
                        let text =
                            fields.iter().map(|(name, value)| name.as_str().len() + value.len());
                        let bytes = pseudo + text.sum::<usize>() + 4 * (4 + fields.len());
                        assert_eq!((block.fields, block.bytes), (4 + fields.len(), bytes as u64));
                        assert_eq!(block.wrong(), None);
                        found += 1;
                    }
                }
                _ => {}
            }
        }
    }
}
