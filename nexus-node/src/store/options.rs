use super::wal::SEGMENT_BYTES;

/// The format of a file that is in use with a log, and the latest that this version reads. A version that knows no such log
/// would miss what only it has. After a clean stop the file has [`FORMAT`](super::FORMAT) again.
pub const FORMAT_IN_USE: u32 = 6;

/// The row of [`Table::Meta`](super::Table::Meta) that holds the format, as a little-endian `u32`. Table, key and
/// checksum never change, so every version can tell a file of a later format from a damaged one.
pub const FORMAT_KEY: &[u8] = b"format";

/// Options for opening a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Memory for pages of the file, in bytes. Default 16 MiB. A larger cache saves few reads: the
    /// operating system usually caches the same pages.
    pub cache_bytes: usize,
    /// The largest file that is read through and checked on every open, in bytes. Default 64 MiB. The
    /// check takes about a second per GiB. Every file is also checked after an unclean stop, value by
    /// value as it is read, and by [`Store::verify`](super::Store::verify).
    pub verify_bytes_max: u64,
    /// The size of each of the two segments of the write-ahead log, in bytes. Default 2 MiB. With 0 there is no log: each
    /// commit syncs the file itself.
    pub segment_bytes: u64,
}

impl StoreOptions {
    /// These options with a cache of so many bytes.
    #[must_use]
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// These options with a log of two segments of so many bytes, or without one.
    #[must_use]
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// These options with files of up to so many bytes read through on every open.
    #[must_use]
    pub const fn verify_bytes_max(mut self, bytes: u64) -> Self {
        self.verify_bytes_max = bytes;
        self
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, verify_bytes_max: 64 << 20, segment_bytes: SEGMENT_BYTES }
    }
}
