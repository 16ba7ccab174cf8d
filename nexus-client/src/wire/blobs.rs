//! Blobs.

use super::{ErrorBody, Span};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A blob of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Blob {
    /// Its name: the BLAKE3 hash of its content, of 64 hexadecimal digits.
    pub hash: String,
    /// The bytes of its content; of a directory those of all its files.
    pub size: u64,
    /// The number of files of a directory; left out for one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Whether it is pinned here.
    pub pinned: bool,
    /// The names that lead to it here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The copies that others keep for this node; left out if none are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<BlobCopies>,
    /// The DIDs of the members for whom it is kept here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_for: Vec<String>,
    /// The number of its parts here that the disk damaged; left out if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub damaged: u64,
    /// The DIDs of the nodes that have it, as far as they can be asked now; this node's is the first.
    pub providers: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A line about a look through blobs. The last one has `blobs` or `error`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobsVerify {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BlobsVerifyProgress>,
    /// The blobs that were looked through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<Vec<BlobVerified>>,
    /// The reason why it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// How far a look through blobs is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobsVerifyProgress {
    /// The bytes that were looked at.
    pub bytes: u64,
    /// All of them.
    pub size: u64,
    /// The number of damaged blobs so far.
    pub damaged: u64,
}

/// A blob that was looked through.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobVerified {
    /// Its name.
    pub hash: String,
    /// The number of its parts, of 256 KiB each.
    pub parts: u64,
    /// The number of parts that were damaged.
    pub damaged: u64,
    /// The number of those that are sound again.
    pub mended: u64,
}

/// The copies of a blob that others keep for this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobCopies {
    /// The number that is wanted, this node's among them.
    pub wanted: usize,
    /// The number that counts, this node's among them: of those who showed within a week that they have one.
    pub count: usize,
    /// The DIDs of the members that keep one.
    pub holders: Vec<String>,
}

/// The wanted number of copies of a blob.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WantCopies {
    /// In all, this node's among them: 1 to 16.
    pub copies: usize,
}

/// A page of the blobs of this node, by hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobPage {
    /// The blobs.
    pub items: Vec<Blob>,
    /// The `after` of the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A line about a fetch. The last one has `blob` or `error`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobFetch {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BlobFetchProgress>,
    /// The blob, which is here now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Blob>,
    /// The reason why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// How far the fetch of a blob is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobFetchProgress {
    /// The bytes that are here and verified.
    pub bytes: u64,
    /// All bytes, as those who have it say; left out until somebody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The number of files, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The number of files that are here.
    pub files_here: u64,
    /// The DIDs of the members from which some of it came.
    pub sources: Vec<String>,
    /// The DIDs of the members that sent something else than they were asked for. They are asked no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lied: Vec<String>,
    /// The DIDs of the members that say that their own copy is damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// A blob that is being fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobTransfer {
    /// Its name.
    pub hash: String,
    /// How far it is.
    pub progress: BlobFetchProgress,
}

/// The blobs that were removed, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct BlobsRemoved {
    /// Their number.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The hashes of the first thousand.
    pub hashes: Vec<String>,
}

/// The blobs that a removal takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlobGc {
    /// Only those that nobody used for so long; an hour if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_for: Option<Span>,
    /// `true` only tells which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A name for a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlobTag {
    /// The name: 1 to 128 bytes without control characters.
    pub tag: String,
}
