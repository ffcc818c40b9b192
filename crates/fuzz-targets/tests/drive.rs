//! Runs every target on its seeds and on changes of them, the same in each run. Longer, or another
//! way: `MILLRACE_FUZZ_ROUNDS=1000000 MILLRACE_FUZZ_SEED=2 cargo test --release -p
//! millrace-fuzz-targets`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::catch_unwind;

use millrace_fuzz_targets::{TARGETS, run, seeds};

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// Pieces in which most of what is parsed has its meaning.
const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\"",
    b"\\",
    b"=",
    b"0",
    b"5",
    b"ffffffff",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"\xff",
    b"\x80\0\0\0",
    b"[::1]",
    b"-----",
];

fn changed(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..numbers.below(5) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(7) {
            0 => bytes.insert(at, numbers.below(256) as u8),
            1 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            2 if at < bytes.len() => bytes[at] = numbers.below(256) as u8,
            3 => {
                let end = (at + numbers.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = at + numbers.below(bytes.len() - at + 1).min(200);
                bytes.extend_from_within(at..end);
            }
            5 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = WORDS[numbers.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
        bytes.truncate(16 * 1024);
    }
    bytes
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn drive(name: &str) {
    let numbers = setting("MILLRACE_FUZZ_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (mut numbers, seeds) = (Numbers(numbers), seeds(name));
    assert!(!seeds.is_empty(), "{name} begins with nothing");
    let check = |bytes: &[u8]| {
        if catch_unwind(|| run(name, bytes)).is_err() {
            panic!("{name} does not hold for b\"{}\"", bytes.escape_ascii());
        }
    };
    seeds.iter().for_each(|seed| check(seed));
    for _ in 0..setting("MILLRACE_FUZZ_ROUNDS", 10_000) {
        check(&changed(&seeds, &mut numbers));
    }
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            drive(stringify!($name));
        })+

        #[test]
        fn every_target_is_run_and_has_a_program() {
            let names = [$(stringify!($name)),+];
            assert_eq!(TARGETS.map(|(name, _)| name).to_vec(), names);
            let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/Cargo.toml");
            let programs = std::fs::read_to_string(programs).unwrap();
            for name in names {
                assert!(programs.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets!(request response chunked trailers host target path forwarded connect_answer h2_frames hpack pem
    crossing proxy_protocol network);
