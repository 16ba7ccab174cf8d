//! The parts of a client of a Nexus node, for any HTTP library: the documents of the API, and the proof and the pin. By these two
//! a client knows the node before it sends a token.
//!
//! | module | content |
//! |---|---|
//! | [`wire`] | the documents of the HTTP API, which `docs/cli.md` describes |
//! | [`proof`] | in the clear: a node proves that it holds the token, before it gets it |
//! | [`pin`] | over TLS: the certificate is the one of the node that was asked for (feature `pin`, on by default) |
//!
//! ```
//! use nexus_client::proof::Challenge;
//! use nexus_client::wire;
//!
//! let new = wire::NewMemory { text: "the build needs a C compiler".to_owned(), ..wire::NewMemory::default() };
//! assert_eq!(serde_json::to_string(&new)?, r#"{"text":"the build needs a C compiler"}"#);
//!
//! // GET this path at the address that was dialled, and give the answer to `check` before anything else is sent
//! let challenge = Challenge::new("the line of the file `api-token`");
//! assert!(challenge.path().starts_with("/healthz?nonce="));
//! # Ok::<(), serde_json::Error>(())
//! ```

#[cfg(feature = "pin")]
pub mod pin;
pub mod proof;
pub mod wire;
