//! All tokens of a node: found by their hashes, made, and revoked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use data_encoding::BASE32_NOPAD;
use nexus_client::proof::TOKEN_PREFIX;
use nexus_crdt::AgentName;
use nexus_identity::{Timestamp, folded};
use zeroize::Zeroizing;

use super::kept::{self, TOKENS_MAX};
use super::token::{IssuedToken, NewToken};
use crate::api::problem::Problem;
use crate::datadir::DataDir;
use crate::world::random;

/// The most spaces of a token.
const SPACES_MAX: usize = 16;
/// The longest name or id of a space, in bytes.
const SPACE_BYTES_MAX: usize = 256;

/// The tokens of one node. Clones are handles to the same ones.
#[derive(Clone)]
pub struct TokenBook(Arc<Book>);

struct Book {
    /// The data directory; without one the tokens live as long as the process.
    directory: Option<PathBuf>,
    content: RwLock<Content>,
    /// One change at a time, from the file to its effect.
    changing: Mutex<()>,
}

type Tokens = BTreeMap<[u8; 32], Arc<IssuedToken>>;

enum Content {
    Read(Tokens),
    /// The file cannot be read, and why.
    Unread(String),
}

/// A token that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The part of it that is kept.
    pub issued: Arc<IssuedToken>,
    /// The token itself, which nobody can ask for again.
    pub token: Zeroizing<String>,
}

/// A token that a caller has shown.
pub(in crate::api) enum Found {
    /// It is one of these.
    Known(Arc<IssuedToken>),
    /// It is none of them.
    Unknown,
    /// It may be one of them, which cannot be read.
    Unread,
}

/// The reason why tokens were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A token has the name, or one that differs in case or form alone.
    #[error("there is a token {0} already")]
    Taken(AgentName),
    /// There are as many as a node keeps.
    #[error("a node has at most {TOKENS_MAX} tokens")]
    Full,
    /// There is none of that name.
    #[error("there is no token {0}")]
    Missing(String),
    /// The spaces are too many, or one has no name.
    #[error("a token has at most {SPACES_MAX} spaces, each by its name or id")]
    Spaces,
    /// The file of the tokens cannot be read.
    #[error("the tokens of this node cannot be read, and all of them are refused: {0}")]
    Unread(String),
    /// The file cannot be written. Nothing has changed.
    #[error("the tokens cannot be written: {0}")]
    Unwritten(String),
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let (code, hint) = match &error {
            TokenError::Taken(_) => {
                ("conflict", "nothing was changed: take another name, or `nexus-node token revoke NAME` first")
            }
            TokenError::Full => ("full", "nothing was changed: `nexus-node token revoke NAME` makes room"),
            TokenError::Missing(_) => ("not_found", "`nexus-node token list` shows them"),
            TokenError::Spaces => ("invalid", "`nexus-node space list` shows the spaces"),
            TokenError::Unread(_) => ("data_dir", UNREAD_HINT),
            TokenError::Unwritten(_) => {
                ("data_dir", "nothing was changed: is the disk full? `nexus-node doctor` looks")
            }
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

/// The way on from a file of tokens that cannot be read.
pub(in crate::api) const UNREAD_HINT: &str = "mend the file `issued-tokens` of the data directory, or move it away, \
    start the node again, and make the tokens anew";

impl TokenBook {
    /// The tokens of a data directory. A file that cannot be read is no error: no token of it is good then.
    pub fn open(directory: &Path) -> Self {
        let content = match kept::read(directory) {
            Ok(tokens) => Content::Read(by_hash(tokens)),
            Err(why) => {
                tracing::warn!(%why, "the issued tokens cannot be read, and all of them are refused");
                Content::Unread(why)
            }
        };
        Self::with(Some(directory.to_owned()), content)
    }

    /// No tokens, and no file for them.
    pub fn in_memory() -> Self {
        Self::with(None, Content::Read(Tokens::new()))
    }

    fn with(directory: Option<PathBuf>, content: Content) -> Self {
        Self(Arc::new(Book { directory, content: RwLock::new(content), changing: Mutex::default() }))
    }

    fn tokens(&self) -> Result<Tokens, TokenError> {
        match &*self.0.content.read().unwrap_or_else(PoisonError::into_inner) {
            Content::Read(tokens) => Ok(tokens.clone()),
            Content::Unread(why) => Err(TokenError::Unread(why.clone())),
        }
    }

    /// The token with this hash.
    pub(in crate::api) fn find(&self, hash: &blake3::Hash) -> Found {
        match &*self.0.content.read().unwrap_or_else(PoisonError::into_inner) {
            Content::Read(tokens) => tokens.get(hash.as_bytes()).cloned().map_or(Found::Unknown, Found::Known),
            Content::Unread(_) => Found::Unread,
        }
    }

    /// The data directory that keeps them.
    pub(in crate::api) fn directory(&self) -> Option<&Path> {
        self.0.directory.as_deref()
    }

    /// Whether a token is one of them.
    pub fn knows(&self, token: &str) -> bool {
        matches!(self.find(&blake3::hash(token.as_bytes())), Found::Known(_))
    }

    /// The token that a question for the proof names.
    pub(in crate::api) fn marked(&self, mark: &str) -> Option<Arc<IssuedToken>> {
        self.tokens().ok()?.into_values().find(|token| token.mark() == mark)
    }

    /// All tokens, by their names.
    ///
    /// # Errors
    /// [`TokenError::Unread`].
    pub fn list(&self) -> Result<Vec<Arc<IssuedToken>>, TokenError> {
        let mut tokens: Vec<_> = self.tokens()?.into_values().collect();
        tokens.sort_by_cached_key(|token| folded(token.name().as_str()));
        Ok(tokens)
    }

    /// Makes a token. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`TokenError`]; nothing has changed.
    pub fn create(&self, new: NewToken, now: Timestamp) -> Result<Made, TokenError> {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = self.tokens()?;
        let named = |space: &String| (1..=SPACE_BYTES_MAX).contains(&space.len()) && !space.contains(char::is_control);
        if new.spaces.len() > SPACES_MAX || !new.spaces.iter().all(named) {
            return Err(TokenError::Spaces);
        }
        let wanted = folded(new.name.as_str());
        if let Some(other) = tokens.values().find(|token| folded(token.name().as_str()) == wanted) {
            return Err(TokenError::Taken(other.name().clone()));
        }
        if tokens.len() >= TOKENS_MAX {
            // those that are over anyhow make room
            tokens.retain(|_, token| !token.has_expired(now));
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let mut secret = Zeroizing::new(BASE32_NOPAD.encode(&*Zeroizing::new(random::<32>())));
        secret.make_ascii_lowercase();
        let token = Zeroizing::new(format!("{TOKEN_PREFIX}{}", *secret));
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        let issued = Arc::new(IssuedToken::new(hash, new, now));
        tokens.insert(hash, issued.clone());
        self.put(tokens)?;
        Ok(Made { issued, token })
    }

    /// Revokes a token: whatever it opened ends. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`TokenError`]; nothing has changed.
    pub fn revoke(&self, name: &str) -> Result<Arc<IssuedToken>, TokenError> {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = self.tokens()?;
        let wanted = folded(name);
        let found = tokens.values().find(|token| folded(token.name().as_str()) == wanted).cloned();
        let found = found.ok_or_else(|| TokenError::Missing(name.chars().take(AgentName::CHARS_MAX).collect()))?;
        tokens.remove(&found.hash);
        self.put(tokens)?;
        found.revoked.send_replace(true);
        Ok(found)
    }

    /// Writes the tokens, and uses them from then on.
    fn put(&self, tokens: Tokens) -> Result<(), TokenError> {
        if let Some(directory) = &self.0.directory {
            let text = kept::text(tokens.values().map(AsRef::as_ref));
            DataDir::write_issued_tokens(directory, &text).map_err(|error| TokenError::Unwritten(error.to_string()))?;
        }
        *self.0.content.write().unwrap_or_else(PoisonError::into_inner) = Content::Read(tokens);
        Ok(())
    }
}

fn by_hash(tokens: Vec<IssuedToken>) -> Tokens {
    tokens.into_iter().map(|token| (token.hash, Arc::new(token))).collect()
}

impl std::fmt::Debug for TokenBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBook").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scope::{Scope, Scopes};
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn new(name: &str) -> NewToken {
        let scopes = Scopes::of(["memory:read"]).unwrap();
        NewToken { name: name.parse().unwrap(), scopes, spaces: Vec::new(), expires_at: None, rate: None }
    }

    fn known(book: &TokenBook, token: &str) -> Option<Arc<IssuedToken>> {
        match book.find(&blake3::hash(token.as_bytes())) {
            Found::Known(token) => Some(token),
            Found::Unknown | Found::Unread => None,
        }
    }

    /// promise: Commands and API | Tokens outlive a restart, and their file holds no token
    #[test]
    fn a_token_is_found_after_a_restart_until_it_is_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let book = TokenBook::open(directory.path());
        let made = book.create(
            NewToken {
                scopes: Scopes::of(["kv:write", "mesh:read"]).unwrap(),
                spaces: vec!["work".to_owned()],
                expires_at: Some(NOW.saturating_add(Duration::from_secs(60))),
                rate: Some("5/m".parse().unwrap()),
                ..new("claude")
            },
            NOW,
        );
        let Made { issued, token } = made.unwrap();
        assert!(token.starts_with(TOKEN_PREFIX) && token.len() == 56, "{token:?}");
        let file = std::fs::read_to_string(directory.path().join("issued-tokens")).unwrap();
        assert!(!file.contains(&**token) && !file.contains(&token[4..]), "{file}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(directory.path().join("issued-tokens")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = TokenBook::open(directory.path());
        let found = known(&again, &token).unwrap();
        assert_eq!((found.name(), found.scopes(), found.rate()), (issued.name(), issued.scopes(), issued.rate()));
        assert_eq!((found.spaces().unwrap().to_vec(), found.created_at()), (vec!["work".to_owned()], NOW));
        assert!(found.allows(Scope::KvRead) && !found.allows(Scope::MemoryRead));
        let end = found.expires_at().unwrap();
        assert!(found.has_expired(end) && !found.has_expired(NOW));
        again.revoke("CLAUDE").unwrap();
        assert!(known(&again, &token).is_none() && *found.revoked.borrow());
        assert!(known(&TokenBook::open(directory.path()), &token).is_none());
        assert_eq!(again.revoke("claude").unwrap_err(), TokenError::Missing("claude".to_owned()));
    }

    /// promise: Bad input | A token's name that another one has, in any case or form, is refused
    #[test]
    fn a_name_is_given_once_and_the_number_of_tokens_is_bounded() {
        let book = TokenBook::in_memory();
        book.create(new("Claude"), NOW).unwrap();
        for name in ["Claude", "claude", "CLAUDE", "ｃlaude"] {
            assert!(matches!(book.create(new(name), NOW), Err(TokenError::Taken(_))), "{name}");
        }
        let brief = NewToken { expires_at: Some(NOW.saturating_add(Duration::from_secs(1))), ..new("brief") };
        book.create(brief, NOW).unwrap();
        for number in 0..TOKENS_MAX - 2 {
            book.create(new(&format!("agent {number}")), NOW).unwrap();
        }
        assert_eq!(book.create(new("one more"), NOW).unwrap_err(), TokenError::Full);
        let later = NOW.saturating_add(Duration::from_secs(2));
        book.create(new("one more"), later).unwrap();
        assert_eq!(book.list().unwrap().len(), TOKENS_MAX);
        let spaces = |count| NewToken { spaces: vec!["a".to_owned(); count], ..new("spacious") };
        book.revoke("one more").unwrap();
        assert_eq!(book.create(spaces(SPACES_MAX + 1), later).unwrap_err(), TokenError::Spaces);
        assert!(book.create(spaces(SPACES_MAX), later).is_ok());
    }

    /// promise: Bad input | A damaged file of tokens lets nobody in, and is never written over
    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("issued-tokens");
        let token = TokenBook::open(directory.path()).create(new("claude"), NOW).unwrap().token;
        let whole = std::fs::read_to_string(&path).unwrap();
        let two = whole.replacen("[{", &format!("[{},{{", &whole[whole.find("[{").unwrap() + 1..whole.len() - 3]), 1);
        let damaged: Vec<Vec<u8>> = vec![
            Vec::new(),
            b"{".to_vec(),
            b"[]".to_vec(),
            vec![0; 300],
            vec![0xff; 20],
            vec![b' '; 2 << 20],
            whole[..whole.len() / 2].into(),
            whole.replace("\"format\":1", "\"format\":2").into(),
            whole.replace("memory:read", "memory:all").into(),
            whole.replace("\"scopes\"", "\"only\":[\"x\"],\"scopes\"").into(),
            whole.replace("\"scopes\":[\"memory:read\"]", "\"scopes\":[]").into(),
            two.into(),
        ];
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            let book = TokenBook::open(directory.path());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let text = text.get(..text.len().min(200)).unwrap_or_default();
            assert!(matches!(book.find(&blake3::hash(token.as_bytes())), Found::Unread), "{text:?}");
            assert!(matches!(book.list(), Err(TokenError::Unread(_))), "{text:?}");
            assert!(matches!(book.create(new("other"), NOW), Err(TokenError::Unread(_))), "{text:?}");
            assert!(matches!(book.revoke("claude"), Err(TokenError::Unread(_))), "{text:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::write(&path, whole).unwrap();
        assert!(known(&TokenBook::open(directory.path()), &token).is_some());
    }

    #[test]
    fn a_hash_is_no_token_and_half_a_token_is_none() {
        let book = TokenBook::in_memory();
        let Made { issued, token } = book.create(new("claude"), NOW).unwrap();
        for wrong in [&issued.proof_secret(), &token[..55], &format!("{}a", *token), &token.to_uppercase(), "", "nxt_"]
        {
            assert!(known(&book, wrong).is_none(), "{wrong}");
        }
        assert!(book.marked(&issued.mark()).is_some() && book.marked("").is_none());
    }
}
