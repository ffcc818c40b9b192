//! What the targets begin with: the tables of the conformance tests, and a few bytes for the others.

#[path = "../../proxy/tests/conformance/table.rs"]
#[allow(dead_code, clippy::panic, clippy::unwrap_used)]
mod table;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the repository.
pub(crate) fn file(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).expect("a file of the repository")
}

/// The messages in a folder of tables, a zero in front of each: byte by byte.
fn tables(folder: &str) -> Vec<Vec<u8>> {
    let folder = root().join("crates/proxy/tests/conformance").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("tables")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a table"));
    let rows = texts.flat_map(|text| table::rows(&text));
    rows.map(|row| [&[0], &*row.bytes].concat()).filter(|seed| seed.len() < 8192).collect()
}

/// What follows the head of each message.
fn bodies(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.retain(|seed| seed.windows(8).any(|window| window.eq_ignore_ascii_case(b"chunked\r")));
    for seed in &mut all {
        let end = seed.windows(4).position(|window| window == b"\r\n\r\n");
        seed.drain(1..end.map_or(1, |end| end + 4));
    }
    all
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A client's first bytes in HTTP/2, with frames of most kinds.
const H2: &[u8] = b"\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\
    \0\0\x10\x01\x04\0\0\0\x01\x82\x86\x84\x41\x8a\x08\x9d\x5c\x0b\x81\x70\xdc\x78\x0f\x03\
    \0\0\x05\0\x01\0\0\0\x01hello\
    \0\0\x0b\x01\x2c\0\0\0\x03\x02\x80\0\0\0\x10\x82\x84\x87\0\0\
    \0\0\x03\x09\x04\0\0\0\x03\x41\x01a\
    \0\0\x04\x08\0\0\0\0\0\0\0\x04\0\
    \0\0\x04\x03\0\0\0\0\x03\0\0\0\x08\
    \0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";

/// Blocks of RFC 7541's appendix C: literal, indexed, with Huffman's code and without.
const BLOCKS: [&[u8]; 5] = [
    b"\0\x40\x0acustom-key\x0dcustom-header",
    b"\0\x04\x0c/sample/path",
    b"\0\x82\x86\x84\x41\x0fwww.example.com",
    b"\x01\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x01\x3f\xe1\x1f\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49",
];

/// Headers of the PROXY protocol behind their signature: of each kind, with fields, and with a checksum.
const PROXY_V2: [&[u8]; 5] = [
    b"\x20\0\0\0GET /",
    b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbbGET /",
    b"\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x02\0\x04a.tt",
    b"\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x03\0\x04\0\0\0\0",
    b"\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
      \0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0\x05\0\x50",
];

/// What the target with this name begins with.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "request" => tables("requests"),
        "response" | "connect_answer" => tables("responses"),
        "chunked" => bodies([tables("requests"), tables("responses")].concat()),
        "trailers" => {
            texts(&["\0\r\n", "\0X: y\r\n\r\nGET /", "\x01A: b\r\nContent-Length: 5\r\n\r\n"])
        }
        "host" => texts(&["a", "a.b:80", "[::1]:443", "a%20b", "u@a", "1.2.3.4:", "a,b"]),
        "target" => texts(&["\0/a?b", "\0http://h:1/p?q", "\x01*", "\x01HTTPS://h", "\x02h:443"]),
        "path" => texts(&[
            "/api/:id/*\n/api//7/./x/../y%2fz",
            "/a*\n/%2e%2e;/a",
            "*.a.test\n/a%00b",
            "/x\n/..%5c..\\x",
            "/%61\n/a/..;x/%252e/",
        ]),
        "forwarded" => texts(&[
            "\0for=192.0.2.43;proto=https, for=\"[2001:db8::17]:4711\";host=\"a:1\"",
            "\0For=_hidden;by=unknown,for=\"a\\\"b\"",
            "\x01192.0.2.43, 2001:db8::17, [::1]:80, 10.0.0.1:1",
            "\x02https",
            "\x03a.test:81",
            "\x041.1 a, 2 b (c)",
        ]),
        "h2_frames" => vec![H2.to_vec(), [&[1], &H2[1..]].concat()],
        "hpack" => BLOCKS.map(<[u8]>::to_vec).to_vec(),
        "pem" => ["example.pem", "example.key", "client.pem", "ca.pem"]
            .map(|name| file(&format!("__test__/certs/{name}")))
            .to_vec(),
        "crossing" => {
            let mut all = texts(&[
                "M\0PUT\nT\0/x?y\nH\0b.test\n=a\x002\n+a\x003\n-none\0\n",
                "S\x00404\n=set-cookie\0a=1\n+set-cookie\0b=2\n-x\0\n",
                "content-type\0text/plain\nx\0y\n",
            ]);
            let ints: [u8; 8] = [7, 2, 1, 2, 200, 0, 2, 1];
            let record = ints.iter().flat_map(|int| [*int, 0, 0, 0]);
            all.push(record.chain(*b"1234").collect());
            all
        }
        "proxy_protocol" => {
            let mut all = texts(&[
                "\0PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n",
                "\x01PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 0 65535\r\n",
                "\x03PROXY UNKNOWN a b 1 2\r\n\r\n",
            ]);
            all.extend(PROXY_V2.iter().map(|rest| [b"\x05\r\n\r\n\0\r\nQUIT\n", *rest].concat()));
            all
        }
        "network" => texts(&[
            "10.0.0.0/8",
            "::ffff:10.0.0.1/104",
            "2001:db8::/32",
            "::1",
            "0.0.0.0/0",
            "fe80::/128",
            "private",
            "::ffff:1.2.3.4/96",
            "::/0",
        ]),
        _ => Vec::new(),
    }
}
