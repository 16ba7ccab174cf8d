//! Memories on the wire.

use super::{Moment, MomentOrNever, Span};
use data_encoding::HEXLOWER;
use nexus_crdt::{Inexact, inexact};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Memory {
    /// Its id.
    pub id: String,
    /// Its former id, if it is a copy.
    pub was: Option<String>,
    /// The author of this text in the mesh from which it was imported, by a proof that this node has checked; left out
    /// if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedFrom>,
    /// Its space's name.
    pub space: String,
    /// The text.
    pub text: String,
    /// The kind.
    pub kind: String,
    /// The blob with the whole text, if `text` is its beginning; left out if `text` is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<TextAttachment>,
    /// The tags.
    pub tags: Vec<String>,
    /// The metadata.
    pub meta: BTreeMap<String, Value>,
    /// Other words by which it is found. Left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The DID of the author of the text that is shown.
    pub author: String,
    /// That member's name.
    pub author_name: Option<String>,
    /// The program that wrote this text, by its own name.
    pub agent: Option<String>,
    /// The source of this text, by the word of its author's node.
    pub source: Option<Source>,
    /// The author again if this text replaced another; null for the text of the creation.
    pub edited_by: Option<String>,
    /// The time of creation.
    pub created_at: String,
    /// The time at which this node got it, if its author's clock was then more than ten minutes ahead; left out if not.
    /// The memory is listed by this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// The time of the last edit.
    pub updated_at: String,
    /// The time of expiry.
    pub expires_at: Option<String>,
    /// The time from which it holds; left out if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// The time from which it no longer holds; left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    /// The id of the memory that it replaces, as its author wrote it; left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// Equal on all nodes that hold the same edits.
    pub version: String,
    /// The origin of each field's value; fields that never had a value are left out.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldOrigin>,
    /// The fields with several concurrent values, at most 64 of each.
    pub conflicts: BTreeMap<String, Vec<ConflictValue>>,
    /// Whether the memory has more values, or more records with its caller's key, than are read. Left out if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The blob with the whole of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TextAttachment {
    /// The hash of the blob.
    pub blob: String,
    /// The size of the whole text, in bytes.
    pub bytes: u64,
    /// A hash of the beginning to which it belongs.
    pub begins: String,
}

impl From<nexus_crdt::TextAttachment> for TextAttachment {
    fn from(attachment: nexus_crdt::TextAttachment) -> Self {
        let [blob, begins] = [&attachment.blob()[..], &attachment.begins()[..]].map(|hash| HEXLOWER.encode(hash));
        Self { blob, bytes: attachment.bytes(), begins }
    }
}

/// A line of an export: the memory, and the data for writing it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Exported {
    /// The memory.
    #[serde(flatten)]
    pub memory: Memory,
    /// The author's key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With `full=true`: the proof of who wrote the text, in base64 (spec, section 23). Left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// The author of an imported text, by a proof that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ImportedFrom {
    /// The author's name there.
    pub name: String,
    /// The author's DID.
    pub author: String,
    /// The mesh's DID.
    pub mesh_did: String,
    /// The memory's id there.
    pub id: String,
    /// The time of the text, by the author's clock.
    pub created_at: String,
}

/// One of several concurrent values of a field.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ConflictValue {
    /// The value.
    pub value: Value,
    /// The DID of its author.
    pub author: String,
    /// That member's name.
    #[serde(default)]
    pub author_name: Option<String>,
    /// The time of the write.
    pub at: String,
}

/// The origin of a field's value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct FieldOrigin {
    /// The author's DID.
    pub author: String,
    /// That member's name.
    pub author_name: Option<String>,
    /// The program that wrote it, by its own name.
    pub agent: Option<String>,
    /// The source.
    pub source: Option<Source>,
    /// The time of the write.
    pub at: String,
}

/// The source of a text, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A person.
    User,
    /// A language model.
    Model,
    /// A program, or its output.
    Tool,
    /// A file that was read in.
    Import,
}

impl From<nexus_crdt::Source> for Source {
    fn from(source: nexus_crdt::Source) -> Self {
        match source {
            nexus_crdt::Source::User => Self::User,
            nexus_crdt::Source::Model => Self::Model,
            nexus_crdt::Source::Tool => Self::Tool,
            nexus_crdt::Source::Import => Self::Import,
        }
    }
}

impl From<Source> for nexus_crdt::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::User => Self::User,
            Source::Model => Self::Model,
            Source::Tool => Self::Tool,
            Source::Import => Self::Import,
        }
    }
}

impl Source {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Import => "import",
        }
    }
}

impl std::str::FromStr for Source {
    type Err = nexus_crdt::NoSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<nexus_crdt::Source>().map(Self::from)
    }
}

/// A memory to write.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewMemory {
    /// The text.
    pub text: String,
    /// The space; default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The kind; default `note`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Take the tags of a live memory with this key away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_tags: bool,
    /// Metadata. A number with more digits than 64 bits have is refused, and so is a key that comes twice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "exact")]
    pub meta: BTreeMap<String, Value>,
    /// Other words by which somebody may look for it: at most 8 of at most 64 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// A key of the caller's. A live memory with this key is edited instead of doubled, and keeps kind, tags and metadata
    /// that are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The id or key of a memory that it replaces: that one no longer holds from then on. Without `space`, it is written
    /// to that one's space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// The time from which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Moment>,
    /// The time from which it no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Moment>,
    /// The program's own name; default: the first product in its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The source: that of the connection, or a lower one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Write it although it looks like a secret. Only a person may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

/// The reach of a write at the time of its acknowledgement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Durability {
    /// Whether it is on this node's disk.
    pub local: bool,
    /// The number of other members that have it on disk.
    pub replicated: usize,
}

/// The acknowledgement of a write.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Remembered {
    /// The memory's id.
    pub id: String,
    /// Its space's name.
    pub space: String,
    /// The author's DID.
    pub author: String,
    /// The number of its entry in that author's log.
    pub seq: u64,
    /// The time of creation.
    pub created_at: String,
    /// The reach of the write.
    pub durability: Durability,
    /// Whether it replaced other content of a live memory with its key.
    #[serde(default)]
    pub replaced: bool,
    /// The id of an older memory with nearly the same text.
    #[serde(default)]
    pub duplicate_of: Option<String>,
    /// Older memories that seem to say something else of the same subject, at most three. Left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradicts: Vec<String>,
}

/// Changes to a memory. Absent fields stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// A new text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A new kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// New tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// New metadata, as for a new memory.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "exact_or_none")]
    pub meta: Option<BTreeMap<String, Value>>,
    /// New aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// Another time from which it holds, `now`, or `never` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<MomentOrNever>,
    /// Another time from which it no longer holds, `now`, or `never` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<MomentOrNever>,
    /// The program's own name; default: the first product in its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The source: that of the connection, or a lower one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Write it although it looks like a secret. Only a person may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

/// A forgotten memory to write again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unforget {
    /// Write it although it looks like a secret. Only a person may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

/// The answer to a forget.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Forgotten {
    /// The memory's id as given in the request.
    pub id: String,
    /// Always true.
    pub forgotten: bool,
}

/// A page of memories, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Listing {
    /// The memories.
    pub items: Vec<Memory>,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// A recalled memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Hit {
    /// The memory.
    #[serde(flatten)]
    pub memory: Memory,
    /// How likely it answers the question, 0 to 1. It means the same from one question to the next.
    pub score: f64,
    /// Whether it has too little of the question to answer it.
    #[serde(default)]
    pub weak: bool,
    /// Whether it may answer the question all the same: it is not weak, or it has the rarer word of a question of one or
    /// two. If no memory is, nothing speaks of the question.
    #[serde(default)]
    pub telling: bool,
    /// The part of a text of more than 400 characters that speaks most of the question, with `…` where something is left
    /// out. Absent for a shorter text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage: Option<String>,
    /// The words of the question that it has, in one sentence.
    pub why: String,
    /// The different words of the question that it has, as the question spells them.
    #[serde(default)]
    pub matched: Vec<String>,
    /// Whether it has no word of the question, and only its meaning is near, as an embedder has it. It is weak then. Left
    /// out if it has one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_meaning: bool,
    /// The ids of others that say the same and are not in the answer. Left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<String>,
    /// The ids of others of the answer that seem to say something else of the same subject: one of them may be out of
    /// date. Left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradicts: Vec<String>,
}

/// One step in a memory's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Revision {
    /// The version after it.
    pub version: String,
    /// The time.
    pub at: String,
    /// The author's DID.
    pub by: String,
    /// The program that wrote it, by its own name.
    #[serde(default)]
    pub agent: Option<String>,
    /// The source.
    #[serde(default)]
    pub source: Option<Source>,
    /// The fields that it wrote.
    pub changed: BTreeMap<String, Value>,
    /// Whether earlier revisions are left out, at the first one alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
}

/// Metadata of which nothing is lost.
fn exact<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Value>, D::Error> {
    let given = Box::<RawValue>::deserialize(from)?;
    match inexact(given.get()) {
        Some(Inexact { path, kind }) => {
            let path = std::iter::once("meta".to_owned()).chain(path).collect();
            Err(D::Error::custom(Inexact { path, kind }))
        }
        None => serde_json::from_str(given.get()).map_err(D::Error::custom),
    }
}

/// Metadata of which nothing is lost, or null: for `deserialize_with`.
///
/// # Errors
/// If it is not an object, or a number of it would not come back as it is written.
pub fn exact_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, Value>>, D::Error> {
    #[derive(Deserialize)]
    struct Meta(#[serde(deserialize_with = "exact")] BTreeMap<String, Value>);

    Ok(Option::<Meta>::deserialize(from)?.map(|Meta(meta)| meta))
}
