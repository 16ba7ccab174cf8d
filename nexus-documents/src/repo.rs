//! The messages of automerge-repo, as its programs send them over a WebSocket: maps in CBOR, with a text `type`.
//!
//! The shapes are those of automerge-repo's protocol, version 1. Fields that are not known are passed over, and so are
//! messages of kinds that are not known: later versions of programs send more.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use crate::DocumentId;

/// The version of the protocol.
pub const REPO_VERSION: &str = "1";
/// The longest name of a program or of a session of it, in bytes.
pub const REPO_NAME_BYTES_MAX: usize = 256;
/// The most bytes of a word that clients say to each other about a document and that nobody keeps.
pub const EPHEMERAL_BYTES_MAX: usize = 4 << 10;
/// The most versions that a program names.
const VERSIONS_MAX: u64 = 16;
/// How deep a value that is passed over may be.
const DEPTH_MAX: usize = 16;

/// A message of a program, or to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoMessage {
    /// The name that its sender gives itself.
    pub sender: String,
    /// The name of the one whom it is for; empty for the first one.
    pub target: String,
    /// Its content.
    pub body: RepoBody,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepoBody {
    /// The first message of a program: the versions that it speaks.
    Join {
        /// Texts such as `1`.
        versions: Vec<String>,
    },
    /// The answer to it.
    Peer {
        /// The version that both speak.
        version: String,
    },
    /// The program goes.
    Leave,
    /// A sync message about a document that the sender does not have.
    Request {
        /// The document.
        document: DocumentId,
        /// The bytes of Automerge's sync protocol.
        data: Vec<u8>,
    },
    /// A sync message about a document.
    Sync {
        /// The document.
        document: DocumentId,
        /// The bytes of Automerge's sync protocol.
        data: Vec<u8>,
    },
    /// The sender does not have a document.
    Unavailable {
        /// The document.
        document: DocumentId,
    },
    /// Something about a document that nobody keeps, such as where a cursor stands.
    Ephemeral {
        /// The document.
        document: DocumentId,
        /// A name that the first sender gave this run of it.
        session: String,
        /// The number of the word in its session.
        count: u64,
        /// At most [`EPHEMERAL_BYTES_MAX`].
        data: Vec<u8>,
    },
    /// Why a message was refused.
    Error {
        /// In words.
        message: String,
    },
    /// A kind that this version does not know.
    Other(String),
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRepoMessage {
    /// They are no map in CBOR, or a field has another type.
    #[error("it is no message of automerge-repo: {0}")]
    Form(String),
    /// A field is not there.
    #[error("its field `{0}` is missing")]
    Missing(&'static str),
    /// A field is too long.
    #[error("its field `{0}` is longer than {1} bytes")]
    TooLong(&'static str, usize),
    /// A document's id cannot be read.
    #[error("its field `documentId` is no id of a document")]
    Document,
}

impl From<minicbor::decode::Error> for BadRepoMessage {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Form(error.to_string())
    }
}

/// The fields of a message, as far as they are known.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    sender: Option<&'a str>,
    target: Option<&'a str>,
    version: Option<&'a str>,
    session: Option<&'a str>,
    message: Option<&'a str>,
    document: Option<&'a str>,
    data: Option<&'a [u8]>,
    count: Option<u64>,
    versions: Option<Vec<String>>,
}

impl RepoMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// [`BadRepoMessage`]. Bytes of strangers take no more time and memory than their number asks for.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRepoMessage> {
        let mut decoder = Decoder::new(bytes);
        let mut fields = Fields::default();
        let mut left = decoder.map()?;
        loop {
            match left {
                Some(0) => break,
                Some(more) => left = Some(more - 1),
                None if decoder.datatype()? == Type::Break => break,
                None => {}
            }
            fields.take(&mut decoder)?;
        }
        let kind = named("type", fields.kind)?.to_owned();
        let document = |fields: &Fields<'_>| {
            let id = fields.document.ok_or(BadRepoMessage::Missing("documentId"))?;
            id.parse().map_err(|_| BadRepoMessage::Document)
        };
        let data = |fields: &Fields<'_>| fields.data.map(<[u8]>::to_vec).ok_or(BadRepoMessage::Missing("data"));
        let body = match kind.as_str() {
            "join" => RepoBody::Join {
                versions: fields.versions.clone().ok_or(BadRepoMessage::Missing("supportedProtocolVersions"))?,
            },
            "peer" => RepoBody::Peer { version: named("selectedProtocolVersion", fields.version)?.to_owned() },
            "leave" => RepoBody::Leave,
            "request" => RepoBody::Request { document: document(&fields)?, data: data(&fields)? },
            "sync" => RepoBody::Sync { document: document(&fields)?, data: data(&fields)? },
            "doc-unavailable" => RepoBody::Unavailable { document: document(&fields)? },
            "ephemeral" => {
                let data = data(&fields)?;
                if data.len() > EPHEMERAL_BYTES_MAX {
                    return Err(BadRepoMessage::TooLong("data", EPHEMERAL_BYTES_MAX));
                }
                RepoBody::Ephemeral {
                    document: document(&fields)?,
                    session: named("sessionId", fields.session)?.to_owned(),
                    count: fields.count.ok_or(BadRepoMessage::Missing("count"))?,
                    data,
                }
            }
            "error" => RepoBody::Error { message: fields.message.unwrap_or_default().to_owned() },
            _ => RepoBody::Other(kind),
        };
        let sender = named("senderId", fields.sender).map(str::to_owned);
        let sender = if matches!(body, RepoBody::Error { .. }) { sender.unwrap_or_default() } else { sender? };
        let target = named("targetId", fields.target.or(Some("")))?.to_owned();
        Ok(Self { sender, target, body })
    }

    /// Its bytes.
    #[expect(clippy::expect_used, reason = "a vector takes all bytes")]
    pub fn write(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        self.encode(&mut encoder).expect("a message encodes");
        encoder.into_writer()
    }

    fn encode(&self, encoder: &mut Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        let (kind, more) = match &self.body {
            RepoBody::Join { .. } => ("join", 2),
            RepoBody::Peer { .. } => ("peer", 2),
            RepoBody::Leave => ("leave", 0),
            RepoBody::Request { .. } => ("request", 2),
            RepoBody::Sync { .. } => ("sync", 2),
            RepoBody::Unavailable { .. } => ("doc-unavailable", 1),
            RepoBody::Ephemeral { .. } => ("ephemeral", 4),
            RepoBody::Error { .. } => ("error", 1),
            RepoBody::Other(kind) => (kind.as_str(), 0),
        };
        encoder.map(3 + more)?.str("type")?.str(kind)?;
        encoder.str("senderId")?.str(&self.sender)?.str("targetId")?.str(&self.target)?;
        match &self.body {
            RepoBody::Join { versions } => {
                encoder.str("supportedProtocolVersions")?.array(versions.len() as u64)?;
                for version in versions {
                    encoder.str(version)?;
                }
                encoder.str("peerMetadata")?.map(0)?;
            }
            RepoBody::Peer { version } => {
                encoder.str("selectedProtocolVersion")?.str(version)?.str("peerMetadata")?.map(0)?;
            }
            RepoBody::Request { document, data } | RepoBody::Sync { document, data } => {
                encoder.str("documentId")?.str(&document.bare())?.str("data")?.bytes(data)?;
            }
            RepoBody::Unavailable { document } => {
                encoder.str("documentId")?.str(&document.bare())?;
            }
            RepoBody::Ephemeral { document, session, count, data } => {
                encoder.str("documentId")?.str(&document.bare())?.str("sessionId")?.str(session)?;
                encoder.str("count")?.u64(*count)?.str("data")?.bytes(data)?;
            }
            RepoBody::Error { message } => {
                encoder.str("message")?.str(message)?;
            }
            RepoBody::Leave | RepoBody::Other(_) => {}
        }
        Ok(())
    }
}

impl<'a> Fields<'a> {
    /// Reads one field with its value.
    fn take(&mut self, decoder: &mut Decoder<'a>) -> Result<(), BadRepoMessage> {
        let name = decoder.str()?;
        let text = match name {
            "type" => &mut self.kind,
            "senderId" => &mut self.sender,
            "targetId" => &mut self.target,
            "selectedProtocolVersion" => &mut self.version,
            "sessionId" => &mut self.session,
            "message" => &mut self.message,
            "documentId" => &mut self.document,
            "data" => {
                self.data = Some(bytes(decoder)?);
                return Ok(());
            }
            "count" => {
                self.count = count(decoder)?;
                return Ok(());
            }
            "supportedProtocolVersions" => {
                let many = decoder.array()?.filter(|many| *many <= VERSIONS_MAX);
                let many = many.ok_or(BadRepoMessage::TooLong("supportedProtocolVersions", 16))?;
                let read = |_| Ok::<_, BadRepoMessage>(decoder.str()?.chars().take(16).collect());
                self.versions = Some((0..many).map(read).collect::<Result<_, _>>()?);
                return Ok(());
            }
            _ => return skip(decoder, DEPTH_MAX),
        };
        match decoder.datatype()? {
            Type::Null | Type::Undefined => decoder.skip()?,
            _ => *text = Some(decoder.str()?),
        }
        Ok(())
    }
}

/// Bytes, with or without a tag that says what kind of array JavaScript had.
fn bytes<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], BadRepoMessage> {
    if decoder.datatype()? == Type::Tag {
        decoder.tag()?;
    }
    Ok(decoder.bytes()?)
}

/// A number of JavaScript, which may come as a fraction.
fn count(decoder: &mut Decoder<'_>) -> Result<Option<u64>, BadRepoMessage> {
    Ok(match decoder.datatype()? {
        Type::F32 | Type::F64 => {
            let number = if decoder.datatype()? == Type::F32 { f64::from(decoder.f32()?) } else { decoder.f64()? };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within what a fraction holds")]
            (0.0..=9e15).contains(&number).then_some(number as u64)
        }
        _ => Some(decoder.u64()?),
    })
}

/// Passes over a value that is not known.
fn skip(decoder: &mut Decoder<'_>, depth: usize) -> Result<(), BadRepoMessage> {
    let deeper = || depth.checked_sub(1).ok_or_else(|| BadRepoMessage::Form("a value is too deep".to_owned()));
    let many = match decoder.datatype()? {
        Type::Array => decoder.array()?,
        Type::Map => decoder.map()?.map(|pairs| pairs.saturating_mul(2)),
        Type::Tag => {
            decoder.tag()?;
            Some(1)
        }
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef => {
            return Err(BadRepoMessage::Form("a value has no length".to_owned()));
        }
        _ => return Ok(decoder.skip()?),
    };
    let (depth, many) = (deeper()?, many.unwrap_or(0));
    for _ in 0..many {
        skip(decoder, depth)?;
    }
    Ok(())
}

fn named<'a>(field: &'static str, text: Option<&'a str>) -> Result<&'a str, BadRepoMessage> {
    let text = text.ok_or(BadRepoMessage::Missing(field))?;
    if text.len() <= REPO_NAME_BYTES_MAX { Ok(text) } else { Err(BadRepoMessage::TooLong(field, REPO_NAME_BYTES_MAX)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> DocumentId {
        DocumentId::of_key(&[1; 32], "plan", 0)
    }

    fn all() -> Vec<RepoBody> {
        let (document, data) = (document(), vec![0x42, 0, 0, 0, 0]);
        vec![
            RepoBody::Join { versions: vec!["1".to_owned()] },
            RepoBody::Peer { version: "1".to_owned() },
            RepoBody::Leave,
            RepoBody::Request { document, data: data.clone() },
            RepoBody::Sync { document, data: data.clone() },
            RepoBody::Unavailable { document },
            RepoBody::Ephemeral { document, session: "s".to_owned(), count: 7, data },
            RepoBody::Error { message: "no".to_owned() },
            RepoBody::Other("remote-heads-changed".to_owned()),
        ]
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for body in all() {
            let message = RepoMessage { sender: "one".to_owned(), target: "two".to_owned(), body };
            assert_eq!(RepoMessage::read(&message.write()), Ok(message));
        }
    }

    /// As cbor-x of npm writes them: a map with its length in two bytes, a field that is not known, a fraction, a tag.
    #[test]
    fn a_message_of_javascript_is_read() {
        let mut encoder = Encoder::new(vec![0xb9, 0, 8]);
        let id = document().bare();
        encoder.str("type").unwrap().str("ephemeral").unwrap();
        encoder.str("peerMetadata").unwrap().map(1).unwrap().str("isEphemeral").unwrap().bool(true).unwrap();
        encoder.str("senderId").unwrap().str("tab").unwrap().str("targetId").unwrap().str("node").unwrap();
        encoder.str("documentId").unwrap().str(&id).unwrap().str("sessionId").unwrap().str("s").unwrap();
        encoder.str("count").unwrap().f64(3.0).unwrap();
        encoder.str("data").unwrap().tag(minicbor::data::Tag::new(64)).unwrap().bytes(&[1, 2]).unwrap();
        let read = RepoMessage::read(encoder.writer()).unwrap();
        let body = RepoBody::Ephemeral { document: document(), session: "s".to_owned(), count: 3, data: vec![1, 2] };
        assert_eq!(read, RepoMessage { sender: "tab".to_owned(), target: "node".to_owned(), body });
    }

    #[test]
    fn what_is_no_message_is_refused_in_words() {
        let of = |body| RepoMessage { sender: "one".to_owned(), target: String::new(), body };
        let long = RepoMessage { sender: "x".repeat(257), ..of(RepoBody::Leave) };
        assert_eq!(RepoMessage::read(&long.write()), Err(BadRepoMessage::TooLong("senderId", REPO_NAME_BYTES_MAX)));
        let (document, data) = (document(), vec![0; EPHEMERAL_BYTES_MAX + 1]);
        let word = of(RepoBody::Ephemeral { document, session: "s".to_owned(), count: 1, data });
        assert_eq!(RepoMessage::read(&word.write()), Err(BadRepoMessage::TooLong("data", EPHEMERAL_BYTES_MAX)));
        let mut deep = vec![0xa1, 0x61, b'x'];
        deep.extend([0x81; 100_000]);
        let mut wide = vec![0xa1, 0x61, b'x', 0x9b];
        wide.extend(u64::MAX.to_be_bytes());
        for bytes in [&[][..], &[0xa0], &[0xf6], &[0xbf], &deep, &wide, b"{\"type\":\"join\"}"] {
            assert!(RepoMessage::read(bytes).is_err());
        }
    }

    proptest! {
        /// promise: Documents | No bytes of a program's message panic, whatever they are
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), of in 0_usize..9, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let _ = RepoMessage::read(&bytes);
            let message = RepoMessage { sender: "one".to_owned(), target: "two".to_owned(), body: all()[of].clone() };
            let mut bytes = message.write();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = RepoMessage::read(&bytes) {
                prop_assert_eq!(RepoMessage::read(&read.write()), Ok(read));
            }
        }
    }
}
