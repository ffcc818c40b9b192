//! The Huffman code of HPACK (RFC 7541, Appendix B), as far as it takes to read it.

/// How many bits each byte takes. The code is canonical: shorter words come first, and words of one
/// length are in the order of their bytes, so that the lengths say all of it.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const LONGEST: usize = 30;

/// The bytes in the order of their words; the first word of each length; where its bytes begin.
struct Code {
    bytes: [u8; 256],
    first: [u32; LONGEST + 1],
    start: [u16; LONGEST + 2],
}

static CODE: Code = code();

/// What eight bits begin with: a byte and the length of its word; 0 if the word is longer.
static SHORT: [(u8, u8); 256] = short();

const fn code() -> Code {
    let mut code = Code { bytes: [0; 256], first: [0; LONGEST + 1], start: [0; LONGEST + 2] };
    let (mut length, mut next, mut word) = (1, 0, 0u32);
    while length <= LONGEST {
        word <<= 1;
        code.first[length] = word;
        code.start[length] = next as u16;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                code.bytes[next] = byte as u8;
                next += 1;
                word += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    code.start[LONGEST + 1] = next as u16;
    code
}

const fn short() -> [(u8, u8); 256] {
    let code = code();
    let mut table = [(0, 0); 256];
    let mut length = 1;
    while length <= 8 {
        let mut index = code.start[length];
        while index < code.start[length + 1] {
            let word = code.first[length] + (index - code.start[length]) as u32;
            let mut filled = word << (8 - length);
            let end = (word + 1) << (8 - length);
            while filled < end {
                table[filled as usize] = (code.bytes[index as usize], length as u8);
                filled += 1;
            }
            index += 1;
        }
        length += 1;
    }
    table
}

/// Bits of a string that make no whole word yet.
#[derive(Default)]
pub(super) struct Decoder {
    bits: u64,
    count: u32,
}

impl Decoder {
    /// Gives `sink` the bytes that are whole with `byte`.
    pub(super) fn push(&mut self, byte: u8, mut sink: impl FnMut(u8)) {
        self.bits = (self.bits << 8) | u64::from(byte);
        self.count += 8;
        while let Some((decoded, length)) = self.word() {
            self.count -= length;
            sink(decoded);
        }
        // No word is longer: such bits are no code, which `h2` finds out.
        self.count = self.count.min(LONGEST as u32);
    }

    /// The next byte and its bits, if all of them are there. What pads a string is the beginning of
    /// the longest word, and never a whole one.
    fn word(&self) -> Option<(u8, u32)> {
        let top = match self.count {
            0..8 => self.bits << (8 - self.count),
            _ => self.bits >> (self.count - 8),
        };
        let (byte, length) = SHORT[usize::from(top as u8)];
        if length > 0 {
            return (u32::from(length) <= self.count).then_some((byte, length.into()));
        }
        (9..=LONGEST.min(self.count as usize)).find_map(|length| {
            let word = (self.bits >> (self.count as usize - length)) as u32 & ((1 << length) - 1);
            let index =
                usize::from(CODE.start[length]) + (word.checked_sub(CODE.first[length])? as usize);
            let is_one = index < usize::from(CODE.start[length + 1]);
            is_one.then(|| (CODE.bytes[index], length as u32))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let (mut decoder, mut text) = (Decoder::default(), Vec::new());
        bytes.iter().for_each(|byte| decoder.push(*byte, |byte| text.push(byte)));
        text
    }

    #[test]
    fn the_strings_of_the_rfc() {
        let examples: [(&[u8], &str); 3] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\
                  \x7f\x36\x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\
                  \xb1\x06\x3d\x50\x07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ];
        for (bytes, text) in examples {
            assert_eq!(String::from_utf8(decoded(bytes)).unwrap(), text);
        }
    }

    #[test]
    fn every_byte_is_read_from_its_word() {
        for byte in 0..=255 {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let place = CODE.bytes.iter().position(|other| *other == byte).unwrap();
            let word = CODE.first[length] as usize + place - usize::from(CODE.start[length]);
            // Twice, and filled with ones.
            let bits = ((word as u128) << length | word as u128) << (128 - 2 * length);
            let bits = bits | (u128::MAX >> (2 * length));
            let bytes = &bits.to_be_bytes()[..(2 * length).div_ceil(8)];
            assert_eq!(decoded(bytes), [byte, byte]);
        }
        // What is no code is no reason to fail.
        decoded(&[0xff; 100]);
    }
}
