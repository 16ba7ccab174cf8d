//! Texts that are too long for an entry: the entry has the beginning, a blob all of it.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The longest text of a memory, in bytes.
pub const TEXT_ATTACHMENT_BYTES_MAX: usize = 4 << 20;
/// The beginning of a long text that an entry has, in bytes of its JSON.
const BEGIN_BYTES_MAX: usize = 16 << 10;

/// The blob with the whole of a text, of which a record has the beginning.
///
/// It is of one beginning alone, which it names by a hash. So it counts beside no other text, whoever wrote that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextAttachment {
    /// The BLAKE3 hash of the blob.
    #[serde(with = "hex")]
    blob: [u8; 32],
    /// The size of the blob, in bytes.
    bytes: u64,
    /// The hash of the beginning.
    #[serde(with = "hex")]
    begins: [u8; 16],
}

impl TextAttachment {
    /// The beginning of a text that an entry has room for, at the end of a character.
    pub fn beginning(text: &str) -> &str {
        let mut room = BEGIN_BYTES_MAX;
        for (at, char) in text.char_indices() {
            let bytes = match char {
                '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
                '\0'..='\u{1f}' => 6,
                other => other.len_utf8(),
            };
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => return &text[..at],
            }
        }
        text
    }

    /// The attachment of a beginning whose whole text is in a blob of so many bytes.
    pub fn new(blob: [u8; 32], bytes: u64, beginning: &str) -> Self {
        Self { blob, bytes, begins: hash(beginning) }
    }

    /// Whether a text may be a beginning, by its length alone.
    pub const fn may_begin(text: &str) -> bool {
        // each character was written out with six bytes at most, and there was no room for another one
        text.len() >= BEGIN_BYTES_MAX / 6
    }

    /// Whether it is of this beginning. Any other text is whole.
    pub fn is_of(&self, text: &str) -> bool {
        self.bytes > text.len() as u64 && self.begins == hash(text)
    }

    /// The hash of the blob.
    pub const fn blob(&self) -> &[u8; 32] {
        &self.blob
    }

    /// A hash of the beginning.
    pub const fn begins(&self) -> &[u8; 16] {
        &self.begins
    }

    /// The size of the whole text in bytes, as its author says.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn hash(beginning: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    let mut hasher = blake3::Hasher::new_derive_key("nexus text beginning v1");
    hasher.update(beginning.as_bytes()).finalize_xof().fill(&mut hash);
    hash
}

/// Bytes in lower hexadecimal digits.
mod hex {
    use serde::{Deserializer, Serializer, de::Error};

    use super::{Deserialize, HEXLOWER};

    pub(super) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(from)?.as_bytes()).map_err(Error::custom)?;
        bytes.try_into().map_err(|_| Error::custom("another number of digits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_attachment_is_of_one_beginning() {
        let attachment = TextAttachment::new([7; 32], 40_000, "it begins");
        assert!(attachment.is_of("it begins"));
        assert!(!attachment.is_of("it began") && !TextAttachment::new([7; 32], 9, "it begins").is_of("it begins"));
        let value = serde_json::to_value(attachment).unwrap();
        assert_eq!(value["blob"], "07".repeat(32));
        assert_eq!(serde_json::from_value::<TextAttachment>(value.clone()).unwrap(), attachment);
        for (member, bad) in [("blob", json!("07")), ("blob", json!(7)), ("bytes", json!(-1)), ("begins", json!("0"))] {
            let mut value = value.clone();
            value[member] = bad;
            assert!(serde_json::from_value::<TextAttachment>(value).is_err());
        }
    }

    proptest! {
        /// promise: Entries and memories | The beginning of a long text that an entry has is at most 16 KiB as JSON, and ends with a character
        #[test]
        fn a_beginning_has_room_in_an_entry(piece in "\\PC{1,12}|[\u{0}-\u{1f}\"\\\\]{1,12}", times in 1_usize..4_000) {
            let text = piece.repeat(times);
            let beginning = TextAttachment::beginning(&text);
            let json = |text: &str| Value::from(text).to_string().len() - 2;
            prop_assert!(text.starts_with(beginning) && json(beginning) <= BEGIN_BYTES_MAX);
            let next = text[beginning.len()..].chars().next();
            let more = next.map(|next| json(beginning) + json(&String::from(next)));
            prop_assert!(more.is_none_or(|more| more > BEGIN_BYTES_MAX && TextAttachment::may_begin(beginning)));
        }
    }
}
