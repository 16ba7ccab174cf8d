//! Tokens that this node issued: each names an agent, and says what it may do here.
//!
//! They are this node's own matter, and no other node hears of them. A file in the data directory keeps their hashes, never
//! the tokens. While that file cannot be read, every issued token is refused, and the node runs all the same.
//!
//! | room | content |
//! |---|---|
//! | `scope` | the things that a token may do, by kinds |
//! | `rate` | how often it may ask |
//! | `token` | one token, and when it is over |
//! | `book` | all of them: found by their hashes, made, and revoked |
//! | `kept` | the form of the file |

mod book;
mod kept;
mod rate;
mod scope;
mod token;

pub use self::book::{Made, TokenBook, TokenError};
pub use self::kept::TOKENS_MAX;
pub use self::rate::{BadRate, Rate};
pub use self::scope::{BadScope, Scope, Scopes};
pub use self::token::{IssuedToken, NewToken};
pub use nexus_client::proof::TOKEN_PREFIX;

pub(super) use self::book::{Found, UNREAD_HINT};
