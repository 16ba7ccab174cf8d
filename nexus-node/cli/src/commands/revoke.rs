use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::BASE64;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::node::RevocationDraft;

use super::root;
use crate::client::escape;
use crate::output::{count, moment, sane};
use crate::session::CliSession;

/// End a membership for good: every other member refuses it from now on
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The member, by DID or name
    member: String,
    /// A member that stays, of those whom it had admitted [default: all of them]
    #[arg(long, value_name = "DID|NAME")]
    keep: Vec<String>,
    /// Sign with the mesh's root key, which stands above every member [default FILE: the key on this machine]
    #[arg(long, value_name = "FILE")]
    root: Option<Option<PathBuf>>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Revoke {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let at = format!("/v1/members/{}", escape(&self.member));
        if !self.yes && session.printer.asks() {
            let below: Vec<wire::Member> = client.get(&format!("{at}/below"))?;
            let stays = |member: &&wire::Member| {
                self.keep.is_empty() || self.keep.iter().any(|kept| *kept == member.name || *kept == member.did)
            };
            for member in &below {
                let end = if stays(&member) { "stays" } else { "goes, too" };
                session.printer.note(&format!("{}  {}  {end}", sane(&member.name), member.did));
            }
            let loses = format!("{} loses its membership for good, and cannot be taken back.", sane(&self.member));
            session.printer.confirm(&loses)?;
        }
        let keep = (!self.keep.is_empty()).then_some(self.keep);
        let revoke = match &self.root {
            None => wire::Revoke { keep, signed: None },
            Some(file) => {
                let draft: wire::RevocationDraft =
                    client.post(&format!("{at}/revocation"), &wire::DraftRevocation { keep })?;
                let node: wire::Status = client.get("/v1/status")?;
                wire::Revoke { keep: None, signed: Some(signed(&draft, &node.did, file.as_deref(), session)?) }
            }
        };
        let revoked: wire::RevokedMember = client.post(&format!("{at}/revoke"), &revoke)?;
        session.printer.answer(&revoked, || {
            let mut lines = vec![format!("revoked {}  {}", revoked.did, moment(&revoked.revoked_at))];
            let others = |what: &str, dids: &[String]| {
                let members = count(dids.len() as u64, "member", "members");
                (!dids.is_empty()).then(|| format!("{what} {members} below it"))
            };
            lines.extend(others("admitted anew:", &revoked.kept));
            lines.extend(others("revoked with it:", &revoked.fallen));
            lines.join("\n")
        })
    }
}

/// Signs a draft with the root key of a file, or with the one on this machine. The key stays in this process,
/// and signs nothing but the end of this membership, and the admission of this node.
fn signed(
    asked: &wire::RevocationDraft,
    node: &str,
    file: Option<&Path>,
    session: &CliSession,
) -> Result<String, Problem> {
    let odd = || Problem::new("internal", "the node's draft cannot be read");
    let bytes = BASE64.decode(asked.draft.as_bytes()).map_err(|_| odd())?;
    let draft = RevocationDraft::from_bytes(&bytes).map_err(|_| odd())?;
    let of_member = draft.revocations.first().is_some_and(|first| first.member.to_string() == asked.did);
    let admits = draft.admits.as_ref().map(|claims| claims.subject.to_string());
    if !of_member || admits.is_some_and(|admitted| admitted != node) {
        return Err(Problem::new("internal", "the node drafted something else"));
    }
    let key = root::key(&draft.mesh.to_string(), file, session)?;
    let word = draft.sign(&key).map_err(|error| Problem::new("conflict", error.to_string()))?;
    Ok(BASE64.encode(&word.to_bytes()))
}

/// End this node's own membership; it keeps its memories
#[derive(Debug, Args)]
pub(crate) struct Leave {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Leave {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        if !self.yes && session.printer.asks() {
            session.printer.confirm("This node leaves its mesh for good and keeps its memories.")?;
        }
        let left: wire::Left = client.post("/v1/leave", &serde_json::json!({}))?;
        session.printer.answer(&left, || format!("left {}", moment(&left.left_at)))
    }
}
