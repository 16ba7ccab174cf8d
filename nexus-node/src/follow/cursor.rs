use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::{BASE32_NOPAD, HEXLOWER};

use super::place::LogPlace;
use crate::error::{InputError, NodeError};
use crate::memory::cursor::StoreName;

/// The beginning of a cursor: its version.
const VERSION: &str = "n1";
/// The beginning of a cursor of any version.
const ANY_VERSION: char = 'n';
/// The longest text that is read as a cursor, in bytes. Ours are shorter.
const TEXT_BYTES_MAX: usize = 160;
/// Bytes of the check at the end: a slip of a digit makes no other cursor.
const CHECK_BYTES: usize = 4;

/// Where a reader of a node's events is. It means something on this node alone.
///
/// Events come from several places. A reader that followed one of them alone has no place in the others, and goes on there
/// from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// In the log.
    pub(crate) log: LogPlace,
    /// In critical state.
    pub(crate) critical: Option<CriticalPlace>,
    /// In what is on no disk.
    pub(crate) recent: Option<RecentPlace>,
}

/// A place among the changes of critical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct CriticalPlace {
    /// The generation of the group, if it was known: a later one may have given these revisions to other changes.
    pub(crate) generation: Option<u32>,
    pub(crate) revision: u64,
    /// The changes behind that revision that were seen, too: a transaction makes several at one.
    pub(crate) part: u32,
}

/// A place in what this run of the node has noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RecentPlace {
    /// The run of the node.
    pub(crate) run: u64,
    /// The notes of peers that were seen.
    pub(crate) peers: u64,
    /// The notes of blobs that were seen.
    pub(crate) blobs: u64,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Parts {
    store: StoreName,
    eno: u64,
    index: u32,
    critical: Option<CriticalPlace>,
    recent: Option<RecentPlace>,
}

/// A cursor as a caller gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A place on this node.
    Here(Cursor),
    /// A cursor of an earlier state of this node's store, which was put back from a copy since.
    Former,
}

impl Cursor {
    /// A place in the log, and nowhere else.
    pub(crate) const fn of_log(log: LogPlace) -> Self {
        Self { log, critical: None, recent: None }
    }

    /// The cursor as a text for callers.
    pub(crate) fn render(self, store: StoreName) -> String {
        let Self { log: LogPlace { eno, index }, critical, recent } = self;
        // numbers and options of them: writing these to memory cannot fail
        let mut bytes = borsh::to_vec(&Parts { store, eno, index, critical, recent }).unwrap_or_default();
        bytes.extend(check(&bytes));
        format!("{VERSION}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Reads a cursor that this node handed out, in this version or an earlier one.
    ///
    /// # Errors
    /// [`InputError::OldCursor`] for a revision or a number, which other routes handed out and which means no place here.
    /// [`InputError::ForeignCursor`] for a cursor of another node, [`InputError::Cursor`] for any other text.
    pub(crate) fn parse(text: &str, store: StoreName, former: &[StoreName]) -> Result<Given, NodeError> {
        let not_one = || NodeError::from(InputError::Cursor(text.to_owned()));
        if text.len() > TEXT_BYTES_MAX {
            return Err(not_one());
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InputError::OldCursor(text.to_owned()).into());
        }
        let (name, cursor) = match text.strip_prefix(VERSION) {
            Some(digits) => read(digits).ok_or_else(not_one)?,
            None if text.starts_with(ANY_VERSION) => return Err(not_one()),
            None => read_first_version(text).ok_or_else(not_one)?,
        };
        match name == store {
            true => Ok(Given::Here(cursor)),
            false if former.contains(&name) => Ok(Given::Former),
            false => Err(InputError::ForeignCursor(text.to_owned()).into()),
        }
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK_BYTES]);
    check
}

fn read(digits: &str) -> Option<(StoreName, Cursor)> {
    // of one cursor there is one text
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes()).ok()?;
    let (bytes, end) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    let parts: Parts = borsh::from_slice(bytes).ok().filter(|_| check(bytes) == *end)?;
    let Parts { store, eno, index, critical, recent } = parts;
    Some((store, Cursor { log: LogPlace { eno, index }, critical, recent }))
}

/// A place in the log as it was handed out before cursors had a version: store, entry and part.
fn read_first_version(text: &str) -> Option<(StoreName, Cursor)> {
    let mut parts = text.split('-');
    let (name, eno, index) = (parts.next()?, number(parts.next()?)?, number(parts.next()?)?);
    let name: StoreName = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
    let index = u32::try_from(index).ok().filter(|_| parts.next().is_none())?;
    Some((name, Cursor::of_log(LogPlace { eno, index })))
}

/// A number in digits alone.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: StoreName = [7; 8];

    fn any_cursor() -> impl Strategy<Value = Cursor> {
        let critical = (any::<Option<u32>>(), any::<u64>(), any::<u32>());
        let recent = (any::<u64>(), any::<u64>(), any::<u64>());
        let log = (any::<u64>(), any::<u32>()).prop_map(|(eno, index)| LogPlace { eno, index });
        let critical = critical.prop_map(|(generation, revision, part)| CriticalPlace { generation, revision, part });
        let recent = recent.prop_map(|(run, peers, blobs)| RecentPlace { run, peers, blobs });
        (log, proptest::option::of(critical), proptest::option::of(recent)).prop_map(|(log, critical, recent)| Cursor {
            log,
            critical,
            recent,
        })
    }

    fn code(text: &str) -> &'static str {
        Cursor::parse(text, HERE, &[[8; 8]]).unwrap_err().code()
    }

    proptest! {
        #[test]
        fn a_cursor_reads_as_it_was_written(cursor in any_cursor()) {
            let text = cursor.render(HERE);
            prop_assert!(text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            prop_assert_eq!(Cursor::parse(&text, HERE, &[]).unwrap(), Given::Here(cursor));
            prop_assert_eq!(Cursor::parse(&text, [8; 8], &[HERE]).unwrap(), Given::Former);
            prop_assert_eq!(Cursor::parse(&text, [8; 8], &[]).unwrap_err().code(), "invalid");
        }

        /// promise: Commands and API | A cursor with a slip in it is refused, and never read as another place
        #[test]
        fn a_garbled_cursor_is_refused(cursor in any_cursor(), at in 0_usize..160, letter in "[0-9a-zA-Z-]") {
            let text = cursor.render(HERE);
            let at = at % text.len();
            let mut garbled = text.clone();
            garbled.replace_range(at..=at, &letter);
            if garbled != text {
                prop_assert!(Cursor::parse(&garbled, HERE, &[]).is_err(), "{} {}", text, garbled);
            }
            let cut = &text[..at];
            prop_assert!(Cursor::parse(cut, HERE, &[]).is_err(), "{}", cut);
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text in "\\PC{0,200}") {
            if let Ok(Given::Here(cursor)) = Cursor::parse(&text, HERE, &[]) {
                prop_assert!(Cursor::parse(&cursor.render(HERE), HERE, &[]).is_ok());
            }
        }
    }

    /// promise: Commands and API | A cursor of an earlier version is taken, or refused with the code `cursor_old`
    #[test]
    fn earlier_cursors_are_taken_or_refused_by_name() {
        let place = LogPlace { eno: 12, index: 4_294_967_295 };
        let here = Cursor::parse("0707070707070707-12-4294967295", HERE, &[]).unwrap();
        assert_eq!(here, Given::Here(Cursor::of_log(place)));
        assert_eq!(Cursor::parse("0808080808080808-12-0", HERE, &[[8; 8]]).unwrap(), Given::Former);
        assert_eq!(code("0909090909090909-12-0"), "invalid");
        // a revision of `/v1/watch`
        for old in ["0", "17", "18446744073709551616"] {
            assert_eq!(code(old), "cursor_old", "{old}");
        }
        for wrong in [
            "",
            "n",
            "n1",
            "n2aaaa",
            "0707070707070707-12",
            "0707070707070707-12-0-0",
            "0707070707070707-+12-0",
            "0707070707070707-12-4294967296",
            "0707-12-0",
        ] {
            assert_eq!(code(wrong), "invalid", "{wrong}");
        }
    }
}
