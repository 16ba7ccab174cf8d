//! Other inputs made from kept ones. The same seed makes the same inputs.

/// Random choices from a seed: SplitMix64 (Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice for one purpose.
    pub fn of(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nexus-fuzz dice v1");
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below a length; 0 if that is 0.
    pub fn below(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % (length.max(1) as u64)).unwrap_or(0)
    }

    /// A length up to a limit, short ones more often.
    fn length(&mut self, max: usize) -> usize {
        let within = 1 << self.below(12);
        1 + self.below(within.min(max.max(1)))
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// Numbers at which arithmetic goes wrong.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0xff_ffff_ffff,
    0x100_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Pieces that decoders of texts and of frames look for.
const PIECES: [&[u8]; 44] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"false",
    b"-1",
    b"0",
    b"1e999",
    b"1.5",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9007199254740993",
    b"-9223372036854775809",
    b".",
    b"-",
    b"=",
    b"/",
    b"\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\x02\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    "東京".as_bytes(),
    "İ".as_bytes(),
    "ß".as_bytes(),
    b"%00",
    b"%",
    b"&",
    b"did:key:z6Mk",
    b"/p2p/",
    b"2026-02-30T24:60:60.9999999999Z",
    b"999999999999w",
];

/// An input made from kept ones: a copy of one of them, changed in one to eight ways. It has at most `max` bytes.
pub fn mutated(dice: &mut Dice, kept: &[Vec<u8>], max: usize) -> Vec<u8> {
    let mut bytes = dice.pick(kept).cloned().unwrap_or_default();
    for _ in 0..1 << dice.below(4) {
        change(dice, &mut bytes, kept, max);
    }
    bytes.truncate(max);
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, kept: &[Vec<u8>], max: usize) {
    let at = dice.below(bytes.len());
    match dice.below(14) {
        // a bit
        0 | 1 => {
            let bit = dice.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        // a byte
        2 => {
            let value = dice.next().to_le_bytes()[0];
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        // a number of 1, 2, 4 or 8 bytes, little or big endian
        3 | 4 => {
            let number = *dice.pick(&NUMBERS).unwrap_or(&0);
            number_at(dice, bytes, at, number);
        }
        // a number that is there, a little more or less: lengths and counts
        5 | 6 => {
            let width = 1 << dice.below(4);
            let mut there = [0; 8];
            let end = bytes.len().min(at + width);
            let big = dice.below(2) == 0;
            for (index, byte) in bytes[at..end].iter().enumerate() {
                there[index] = *byte;
            }
            let mut number =
                if big { u64::from_be_bytes(there) >> (64 - 8 * width) } else { u64::from_le_bytes(there) };
            let by = 1 + dice.below(16) as u64;
            number = if dice.below(2) == 0 { number.wrapping_add(by) } else { number.wrapping_sub(by) };
            let written = if big { (number << (64 - 8 * width)).to_be_bytes() } else { number.to_le_bytes() };
            let end = end - at;
            for (byte, new) in bytes[at..].iter_mut().take(end).zip(written) {
                *byte = new;
            }
        }
        // a varint
        7 => {
            let mut number = *dice.pick(&NUMBERS).unwrap_or(&0);
            let mut varint = Vec::new();
            while number >= 0x80 {
                varint.push(number.to_le_bytes()[0] | 0x80);
                number >>= 7;
            }
            varint.push(number.to_le_bytes()[0]);
            let gone = bytes[at..].iter().take(10).take_while(|byte| **byte >= 0x80).count() + 1;
            let end = bytes.len().min(at + gone);
            bytes.splice(at..end, varint);
        }
        // a piece is taken out
        8 => {
            let end = bytes.len().min(at + dice.length(bytes.len()));
            bytes.drain(at..end);
        }
        // a piece is doubled
        9 => {
            let end = bytes.len().min(at + dice.length(bytes.len()));
            let piece = bytes[at..end].to_vec();
            let times = 1 << dice.below(6);
            let to = dice.below(bytes.len() + 1);
            let room = max.saturating_sub(bytes.len());
            let pieces: Vec<u8> = piece.iter().copied().cycle().take((piece.len() * times).min(room)).collect();
            bytes.splice(to..to, pieces);
        }
        // a known piece
        10 => {
            let piece = dice.pick(&PIECES).copied().unwrap_or_default();
            let over = if dice.below(2) == 0 { 0 } else { piece.len() };
            let end = bytes.len().min(at + over);
            bytes.splice(at..end, piece.iter().copied());
        }
        // random bytes
        11 => {
            let new: Vec<u8> = (0..dice.length(64)).map(|_| dice.next().to_le_bytes()[0]).collect();
            bytes.splice(at..at, new);
        }
        // a piece of another input
        12 => {
            let other = dice.pick(kept).cloned().unwrap_or_default();
            let from = dice.below(other.len());
            let end = other.len().min(from + dice.length(other.len()));
            let over = if dice.below(2) == 0 { 0 } else { end - from };
            let until = bytes.len().min(at + over);
            bytes.splice(at..until, other[from..end].iter().copied());
        }
        // the beginning of this and the end of another
        _ => {
            let other = dice.pick(kept).cloned().unwrap_or_default();
            let from = dice.below(other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}

fn number_at(dice: &mut Dice, bytes: &mut [u8], at: usize, number: u64) {
    let width = 1 << dice.below(4);
    let all = number.to_le_bytes();
    let big = dice.below(2) == 0;
    for (index, byte) in bytes[at..].iter_mut().take(width).enumerate() {
        *byte = all[if big { width - 1 - index } else { index }];
    }
}
