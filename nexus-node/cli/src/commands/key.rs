use std::path::{Path, PathBuf};

use clap::Subcommand;
use data_encoding::BASE64;
use nexus_client::wire;
use nexus_identity::{Chain, Claims};
use nexus_node::api::Problem;

use super::root;
use crate::session::CliSession;

/// This node's own key
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Give this node another key; an admin's node that is up admits it, and the former one ends
    Rotate {
        /// Sign with the mesh's root key instead [default FILE: the key on this machine]
        #[arg(long, value_name = "FILE")]
        root: Option<Option<PathBuf>>,
        /// On an admin's node: let this member change its key again within a day; this node's key stays
        #[arg(long = "for", value_name = "NAME", conflicts_with = "root")]
        member: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Key {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let Self::Rotate { root, member, yes } = self;
        let client = session.client()?;
        if let Some(member) = member {
            let allowed: wire::RotationAllowed = client.post("/v1/key/allow", &wire::AllowRotation { member })?;
            return session.printer.answer(&allowed, || {
                format!(
                    "{} may change its key once more until {}: `nexus-node key rotate` there",
                    allowed.name, allowed.until
                )
            });
        }
        if !yes && session.printer.asks() {
            let loses = "The node gets another key and DID. It keeps its name and memories; its vote, its locks and its \
                         tickets end.";
            session.printer.confirm(loses)?;
        }
        let signed = match &root {
            None => None,
            Some(file) => {
                let draft: wire::RotationDraft = client.post("/v1/key/draft", &serde_json::json!({}))?;
                Some(signed(&draft, file.as_deref(), session)?)
            }
        };
        let rotated: wire::RotatedKey = client.post("/v1/key/rotate", &wire::RotateKey { signed })?;
        session.printer.answer(&rotated, || format!("now {}\nuntil now {}", rotated.did, rotated.former))
    }
}

/// Signs a draft with the root key of a file, or with the one on this machine. The key stays in this process,
/// and signs nothing but the credentials of the new key.
fn signed(asked: &wire::RotationDraft, file: Option<&Path>, session: &CliSession) -> Result<String, Problem> {
    let claims = BASE64.decode(asked.draft.as_bytes()).ok().and_then(|bytes| Claims::from_bytes(&bytes).ok());
    let Some(claims) = claims.filter(|claims| claims.issuer == claims.mesh && claims.subject.to_string() == asked.did)
    else {
        return Err(Problem::new("internal", "the node's draft cannot be read"));
    };
    let key = root::key(&claims.mesh.to_string(), file, session)?;
    let chain = Chain::found(claims.sign(&key)).map_err(|error| Problem::new("conflict", error.to_string()))?;
    Ok(BASE64.encode(&chain.to_bytes()))
}
