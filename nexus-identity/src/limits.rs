//! Bounds that errors tell, too.

/// The longest chain from the root to a member.
pub const CHAIN_LINKS_MAX: usize = 8;

/// The longest name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
