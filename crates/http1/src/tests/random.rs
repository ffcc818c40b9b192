//! Bytes from a generator with a fixed seed: nothing panics, and what is taken can be written and
//! read back as the same.

use millrace_message::{Method, check_host, connection_options, strip_hop_by_hop};

use super::bodies::decode;
use crate::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

const SEEDS: [&[u8]; 8] = [
    b"GET /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: x, close\r\n\r\nhello",
    b"POST http://h:1/ HTTP/1.0\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\n",
    b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost:\r\nA:\r\nB: \t\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nA: b\r\nContent-Length: 1\r\n\r\nnext",
    b"ffffffffffffffff\r\n\r\n0\r\n\r\n",
];

const ODD: &[u8] = b"\r\n\r\n\n\r\0 \t:,;\x7f\xff\xc3\xa90123f@/?#[]%*";

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut text = SEEDS[random.below(SEEDS.len())].to_vec();
    for _ in 0..random.below(6) {
        let at = random.below(text.len() + 1);
        let byte = match random.below(3) {
            0 => random.next() as u8,
            _ => ODD[random.below(ODD.len())],
        };
        match random.below(4) {
            0 => text.insert(at, byte),
            1 if at < text.len() => drop(text.remove(at)),
            2 if at < text.len() => text[at] = byte,
            _ => {
                let end = at + random.below(text.len() - at + 1);
                text.extend_from_within(at..end);
            }
        }
    }
    text
}

fn heads(text: &[u8], limits: &HeadLimits) {
    if let Ok(Some((mut head, length))) = parse_request(text, limits) {
        assert!(length <= text.len() && text[..length].ends_with(b"\r\n\r\n"));
        let mut out = Vec::new();
        write_request_head(&head, &mut out);
        let (again, length) = parse_request(&out, limits).unwrap().unwrap();
        assert_eq!((&again.target, &again.fields), (&head.target, &head.fields));
        assert_eq!(length, out.len());
        let _ = (check_host(&head), head.host(), head.path(), head.query(), head.authority());
        let _ = (connection_options(&head.fields), request_framing(&head));
        head.make_origin_form();
        strip_hop_by_hop(&mut head.fields);
    }
    if let Ok(Some((head, length))) = parse_response(text, limits) {
        assert!(length <= text.len() && text[..length].ends_with(b"\r\n\r\n"));
        let mut out = Vec::new();
        write_response_head(&head, &mut out);
        let (again, length) = parse_response(&out, limits).unwrap().unwrap();
        assert_eq!((again.status, &again.fields), (head.status, &head.fields));
        assert_eq!(length, out.len());
        let _ = response_framing(&Method::GET, &head);
    }
}

fn bodies(text: &[u8], random: &mut Random) {
    for framing in [Framing::Chunked, Framing::Length(7), Framing::UntilClose, Framing::None] {
        let whole = decode(framing, [text]);
        let cut = random.below(text.len() + 1);
        let parts = decode(framing, [&text[..cut], &text[cut..]]);
        assert_eq!(whole.is_ok(), parts.is_ok());
        if let (Ok(whole), Ok(parts)) = (whole, parts) {
            assert_eq!(whole, parts);
        }
    }
}

#[test]
fn nothing_panics() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // A limit between the seeds' lengths, and one of fields beneath what some have.
    let small = HeadLimits { max_bytes: 80, max_fields: 2 };
    for round in 0..40_000 {
        let text = if round % 8 == 0 {
            (0..random.below(200)).map(|_| random.next() as u8).collect()
        } else {
            mutated(&mut random)
        };
        heads(&text, &HeadLimits::default());
        if parse_request(&text, &small).is_ok_and(|head| head.is_some()) {
            assert!(parse_request(&text, &HeadLimits::default()).is_ok());
        }
        bodies(&text, &mut random);
    }
}
