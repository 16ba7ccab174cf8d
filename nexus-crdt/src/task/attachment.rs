//! JSON that is too long for an event: a blob has it, and a short object stands for it.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::event::TaskEvent;

/// The longest JSON that a worker or a submitter is handed out of a blob, in bytes.
pub const TASK_ATTACHMENT_BYTES_MAX: usize = 4 << 20;
/// The beginning of the JSON that is told beside the blob's hash, in bytes.
const BEGIN_BYTES_MAX: usize = 1_024;
/// The longest object that is read as one that stands for a blob, in bytes: each byte of the beginning may be escaped.
const OBJECT_BYTES_MAX: usize = 256 + 6 * BEGIN_BYTES_MAX;

/// An input or an output of a task that is in a blob.
///
/// Its JSON is an object: `$blob` is the BLAKE3 hash of the blob in 64 lower hexadecimal digits. `bytes` may say how long
/// the blob is, and `begin` how it begins. An object with any other member stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskAttachment {
    blob: [u8; 32],
    bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(rename = "$blob")]
    blob: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    begin: String,
}

impl TaskAttachment {
    /// The attachment for which a JSON text stands; `None` if it stands for itself.
    pub fn of(json: &str) -> Option<Self> {
        // most inputs are none: they are not parsed
        let may_be = json.len() <= OBJECT_BYTES_MAX && json.contains("$blob");
        let Object { blob, bytes, .. } = may_be.then(|| serde_json::from_str(json).ok()).flatten()?;
        let blob = HEXLOWER.decode(blob.as_bytes()).ok()?.try_into().ok()?;
        Some(Self { blob, bytes })
    }

    /// The JSON that stands for a longer one in a blob.
    pub fn stand_in(blob: &[u8; 32], json: &str) -> String {
        let mut end = json.len().min(BEGIN_BYTES_MAX);
        while !json.is_char_boundary(end) {
            end -= 1;
        }
        let (blob, begin) = (HEXLOWER.encode(blob), json.get(..end).unwrap_or_default().to_owned());
        let object = Object { blob, bytes: Some(json.len() as u64), begin };
        // text and numbers always have a JSON
        serde_json::to_string(&object).unwrap_or_default()
    }

    /// The hash of the blob.
    pub const fn blob(&self) -> &[u8; 32] {
        &self.blob
    }

    /// The size of the blob, as its sender says.
    pub const fn bytes(&self) -> Option<u64> {
        self.bytes
    }
}

impl TaskEvent {
    /// The blob with the input or the output of this event.
    pub fn attachment(&self) -> Option<TaskAttachment> {
        match self {
            Self::Submitted(submission) => TaskAttachment::of(&submission.input),
            Self::Settled(settlement) => TaskAttachment::of(&settlement.output),
            Self::Claimed(_) | Self::Returned(_) | Self::Word(_) | Self::Later(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::TASK_JSON_BYTES_MAX;

    proptest! {
        #[test]
        fn a_stand_in_reads_back_and_fits_an_event(blob in any::<[u8; 32]>(), text in "\\PC{0,3000}") {
            let json = serde_json::to_string(&text).unwrap();
            let stand_in = TaskAttachment::stand_in(&blob, &json);
            prop_assert!(stand_in.len() <= OBJECT_BYTES_MAX && OBJECT_BYTES_MAX < TASK_JSON_BYTES_MAX);
            let read = TaskAttachment::of(&stand_in).unwrap();
            prop_assert_eq!((read.blob(), read.bytes()), (&blob, Some(json.len() as u64)));
        }

        #[test]
        fn nothing_else_is_one(text in "\\PC{0,100}") {
            prop_assert_eq!(TaskAttachment::of(&serde_json::to_string(&text).unwrap()), None);
        }
    }

    #[test]
    fn an_object_with_another_member_stands_for_itself() {
        let hash = "ab".repeat(32);
        assert!(TaskAttachment::of(&format!(r#"{{"$blob": "{hash}"}}"#)).is_some());
        for json in [
            format!(r#"{{"$blob": "{hash}", "more": 1}}"#),
            format!(r#"{{"$blob": "{}"}}"#, hash.to_uppercase()),
            format!(r#"{{"$blob": "{hash}00"}}"#),
            format!(r#"[{{"$blob": "{hash}"}}]"#),
            format!(r#"{{"$blob": "{hash}", "bytes": -1}}"#),
            r#"{"$blob": 1}"#.to_owned(),
            r#""$blob""#.to_owned(),
        ] {
            assert_eq!(TaskAttachment::of(&json), None, "{json}");
        }
    }
}
