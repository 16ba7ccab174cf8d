//! Bytes that are read from the front. Nothing here panics, and each step takes at least one byte.

use crate::error::Fault;

/// The rest of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self, bytes: u64) -> Result<&'a [u8], Fault> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= self.0.len());
        let (taken, rest) = self.0.split_at(bytes.ok_or(Fault::Bytes("it ends too early"))?);
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| Fault::Bytes("it ends too early"))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// An unsigned number in LEB128, in its shortest form.
    pub(crate) fn uint(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                let is_long = byte == 0 && shift > 0;
                return if is_long { Err(Fault::Form("a number is longer than it has to be")) } else { Ok(number) };
            }
        }
        Err(Fault::Bytes("a number is too large"))
    }

    /// A signed number in LEB128, in its shortest form.
    pub(crate) fn int(&mut self) -> Result<i64, Fault> {
        let (mut number, mut before) = (0_i64, 0);
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = i64::from(byte & 0x7f);
            if shift == 63 && part != 0 && part != 0x7f {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                let is_negative = byte & 0x40 != 0;
                if is_negative && shift < 57 {
                    number |= -1 << (shift + 7);
                }
                let repeats_sign = (before & 0x40 != 0) == is_negative && (byte == 0 || byte == 0x7f);
                let is_long = shift > 0 && repeats_sign;
                return if is_long { Err(Fault::Form("a number is longer than it has to be")) } else { Ok(number) };
            }
            before = byte;
        }
        Err(Fault::Bytes("a number is too large"))
    }

    /// Bytes after their number.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let bytes = self.uint()?;
        self.take(bytes)
    }

    /// Text after the number of its bytes.
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.sized()?).map_err(|_| Fault::Bytes("a text is no UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uint(bytes: &[u8]) -> Option<u64> {
        Reader::new(bytes).uint().ok()
    }

    fn int(bytes: &[u8]) -> Option<i64> {
        Reader::new(bytes).int().ok()
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!([uint(&[0]), uint(&[0x7f]), uint(&[0x80, 1])], [Some(0), Some(127), Some(128)]);
        assert_eq!([uint(&[0x80, 0]), uint(&[0x80]), uint(&[])], [None; 3]);
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(uint(&most), Some(u64::MAX));
        assert_eq!([uint(&[[0xff; 9].as_slice(), &[3]].concat()), uint(&[0xff; 11])], [None; 2]);
        assert_eq!([int(&[0x7f]), int(&[0x40]), int(&[0x3f])], [Some(-1), Some(-64), Some(63)]);
        assert_eq!([int(&[0xc0, 0]), int(&[0xbf, 0x7f])], [Some(64), Some(-65)]);
        assert_eq!([int(&[0xbf, 0]), int(&[0xff, 0x7f]), int(&[0x80])], [None; 3]);
        let least = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f];
        assert_eq!(int(&least), Some(i64::MIN));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(int(&most), Some(i64::MAX));
        assert_eq!(int(&[[0xff; 9].as_slice(), &[1]].concat()), None);
    }
}
