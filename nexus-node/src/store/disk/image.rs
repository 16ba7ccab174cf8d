//! The bytes of a simulated file.

use std::sync::Arc;

/// The unit of sharing, in bytes.
const PAGE: usize = 4096;

/// The bytes of a file. Pages that nobody wrote take no memory, and clones share the others.
#[derive(Clone, Default)]
pub(super) struct Image {
    len: usize,
    /// One for each begun page; `None` if all its bytes are zero. Past the end of the file all bytes are zero.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Image {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.write(0, bytes);
        image
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes);
        bytes
    }

    /// Cuts the file, or adds zeros.
    pub(super) fn resize(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE), None);
        if len < self.len
            && let Some(Some(last)) = self.pages.get_mut(len / PAGE)
        {
            Arc::make_mut(last)[len % PAGE..].fill(0);
        }
        self.len = len;
    }

    /// Reads bytes; `false` if they are not all within the file.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset.checked_add(out.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        for Part { page, at, bytes } in parts(offset, out.len()) {
            let out = &mut out[bytes];
            match &self.pages[page] {
                Some(page) => out.copy_from_slice(&page[at..at + out.len()]),
                None => out.fill(0),
            }
        }
        true
    }

    /// Writes bytes. The file grows by those past its end.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.len < end {
            self.resize(end);
        }
        for Part { page, at, bytes } in parts(offset, data.len()) {
            let data = &data[bytes];
            let page = &mut self.pages[page];
            if page.is_none() && data.iter().all(|byte| *byte == 0) {
                continue;
            }
            let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[at..at + data.len()].copy_from_slice(data);
        }
    }

    /// Flips bits of a byte. Does nothing past the end.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        let mut byte = [0];
        if self.read(offset, &mut byte) {
            self.write(offset, &[byte[0] ^ mask]);
        }
    }
}

/// Bytes of one page.
struct Part {
    page: usize,
    /// The first one, within the page.
    at: usize,
    /// Their places among all that are asked for.
    bytes: std::ops::Range<usize>,
}

/// Parts of so many bytes from an offset on, by page.
fn parts(offset: usize, len: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = (offset + done) % PAGE;
        let bytes = done..len.min(done + PAGE - at);
        done = bytes.end;
        (!bytes.is_empty()).then(|| Part { page: (offset + bytes.start) / PAGE, at, bytes })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        Resize(usize),
        Flip(usize, u8),
        Share,
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = 0..3 * PAGE;
        prop_oneof![
            (at.clone(), proptest::collection::vec(0u8..3, 0..PAGE + 9)).prop_map(|(at, data)| Step::Write(at, data)),
            at.clone().prop_map(Step::Resize),
            (at, 1u8..).prop_map(|(at, mask)| Step::Flip(at, mask)),
            Just(Step::Share),
        ]
    }

    proptest! {
        /// promise: Whole networks, by seed | Pages of a simulated disk that nobody wrote take no memory, and clones share the others until they are written
        #[test]
        fn an_image_has_the_bytes_of_a_list_and_so_do_its_clones(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut image, mut list) = (Image::default(), Vec::new());
            let mut shared = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = list.len().max(at + data.len());
                        list.resize(end, 0);
                        list[at..at + data.len()].copy_from_slice(&data);
                        image.write(at, &data);
                    }
                    Step::Resize(len) => {
                        list.resize(len, 0);
                        image.resize(len);
                    }
                    Step::Flip(at, mask) => {
                        if let Some(byte) = list.get_mut(at) {
                            *byte ^= mask;
                        }
                        image.flip(at, mask);
                    }
                    Step::Share => shared.push((image.clone(), list.clone())),
                }
                prop_assert_eq!(image.len(), list.len());
                prop_assert_eq!(&image.to_vec(), &list);
                prop_assert!(!image.read(list.len(), &mut [0]) && image.read(list.len(), &mut []));
            }
            for (image, list) in shared {
                prop_assert_eq!(image.to_vec(), list);
            }
        }
    }

    #[test]
    fn pages_that_nobody_wrote_take_no_memory_and_clones_share_the_others() {
        let mut image = Image::default();
        image.resize(1 << 30);
        image.write(5 * PAGE - 1, &[1, 2]);
        let there = |image: &Image| image.pages.iter().flatten().cloned().collect::<Vec<_>>();
        assert_eq!(there(&image).len(), 2);
        let mut copy = image.clone();
        copy.write(5 * PAGE, &[3]);
        let (old, new) = (there(&image), there(&copy));
        assert!(Arc::ptr_eq(&old[0], &new[0]) && !Arc::ptr_eq(&old[1], &new[1]));
    }
}
