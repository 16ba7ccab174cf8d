use data_encoding::BASE32_NOPAD;

use crate::error::{InputError, NodeError};
use crate::ledger::rows::TimeKey;
use nexus_crdt::Hlc;

/// A store's name in cursors. A cursor of another store means nothing here.
pub(crate) type StoreName = [u8; 8];

/// A place in a listing, newest first: before the record of this key.
pub(crate) fn render_listing(store: StoreName, key: TimeKey) -> String {
    let bytes = [&store, &key.to_bytes()[4..]].concat();
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

pub(crate) fn parse_listing(text: &str, store: StoreName) -> Result<TimeKey, NodeError> {
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| not_a_cursor(text))?;
    let (name, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| not_a_cursor(text))?;
    if *name != store {
        return Err(other_store(text));
    }
    TimeKey::from_bytes(&[&[0; 4], rest].concat()).ok_or_else(|| not_a_cursor(text))
}

fn not_a_cursor(text: &str) -> NodeError {
    InputError::Cursor(text.to_owned()).into()
}

fn other_store(text: &str) -> NodeError {
    InputError::ForeignCursor(text.to_owned()).into()
}

/// The key before all others in a listing.
pub(crate) const LATEST: TimeKey = TimeKey { space: 0, hlc: Hlc(u64::MAX), eno: u64::MAX, index: u16::MAX };
