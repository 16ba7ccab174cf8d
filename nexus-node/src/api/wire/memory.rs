//! Memories on the wire.

use nexus_client::wire::{
    ConflictValue, Durability, FieldOrigin, Hit, ImportedFrom, Listing, Memory, MomentOrNever, NewMemory, Patch,
    Remembered, Revision, Source, TextAttachment,
};
use nexus_identity::{Did, Timestamp};

use crate::api::Problem;
use crate::api::caller::Caller;

impl From<crate::Memory> for Memory {
    fn from(memory: crate::Memory) -> Self {
        let author = memory.author.to_string();
        // nearly always all fields are of one author, and a DID's text takes a while to make
        let name_of = |did: Did| if did == memory.author { author.clone() } else { did.to_string() };
        let fields = memory.fields.into_iter().map(|(field, from)| {
            let from = FieldOrigin {
                author: name_of(from.author),
                author_name: from.author_name,
                agent: from.agent.map(|agent| agent.to_string()),
                source: from.source.map(Source::from),
                at: from.at.to_string(),
            };
            (field.to_owned(), from)
        });
        let conflicts = memory.conflicts.into_iter().map(|(field, values)| {
            let values = values.into_iter().map(|conflict| ConflictValue {
                value: conflict.value,
                author: name_of(conflict.author),
                author_name: conflict.author_name,
                at: conflict.at.to_string(),
            });
            (field, values.collect())
        });
        Self {
            id: memory.id.to_string(),
            was: memory.was,
            imported: memory.imported.map(|from| ImportedFrom {
                name: from.name,
                author: from.author.to_string(),
                mesh_did: from.mesh.to_string(),
                id: from.id.to_string(),
                created_at: from.created_at.to_string(),
            }),
            space: memory.space,
            attachment: memory.attachment.map(TextAttachment::from),
            text: memory.text,
            kind: memory.kind,
            tags: memory.tags,
            meta: memory.meta,
            aliases: memory.aliases,
            author_name: memory.author_name,
            agent: memory.agent.map(|agent| agent.to_string()),
            source: memory.source.map(Source::from),
            edited_by: memory.edited_by.map(name_of),
            created_at: memory.created_at.to_string(),
            seen_at: memory.seen_at.map(|at| at.to_string()),
            updated_at: memory.updated_at.to_string(),
            expires_at: memory.expires_at.map(|at| at.to_string()),
            valid_from: memory.valid_from.map(|at| at.to_string()),
            valid_to: memory.valid_to.map(|at| at.to_string()),
            supersedes: memory.supersedes.map(|id| id.to_string()),
            version: memory.version,
            fields: fields.collect(),
            conflicts: conflicts.collect(),
            more: memory.more,
            author,
        }
    }
}

/// The memory, with its caller as origin.
pub(in crate::api) fn new_memory(given: NewMemory, caller: &Caller) -> Result<crate::NewMemory, Problem> {
    let NewMemory {
        text, space, kind, tags, no_tags, meta, aliases, id: key, ttl, agent, source, allow_secret, ..
    } = given;
    if no_tags && !tags.is_empty() {
        return Err(Problem::new("invalid", "tags are given, and `no_tags` as well").hint("give one of them"));
    }
    let origin = caller.origin(agent.as_deref(), source.map(Into::into))?;
    let ttl = ttl.map(|ttl| ttl.0);
    let secrets = caller.secrets(allow_secret)?;
    let memory = crate::NewMemory {
        text,
        space,
        kind,
        tags,
        no_tags,
        meta,
        aliases,
        key,
        ttl,
        supersedes: given.supersedes,
        valid_from: given.valid_from.map(|at| at.0),
        valid_to: given.valid_to.map(|at| at.0),
        origin,
        secrets,
        ..Default::default()
    };
    Ok(memory)
}

impl From<crate::memory::Remembered> for Remembered {
    fn from(remembered: crate::memory::Remembered) -> Self {
        let crate::memory::Durability { local, replicated } = remembered.durability;
        Self {
            id: remembered.id.to_string(),
            space: remembered.space,
            author: remembered.author.to_string(),
            seq: remembered.seq,
            created_at: remembered.created_at.to_string(),
            durability: Durability { local, replicated },
            replaced: remembered.replaced,
            duplicate_of: remembered.duplicate_of.map(|id| id.to_string()),
            contradicts: remembered.contradicts.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The changes, with their caller as origin.
pub(in crate::api) fn patch(given: Patch, caller: &Caller, now: Timestamp) -> Result<crate::Patch, Problem> {
    let Patch { text, kind, tags, meta, aliases, valid_from, valid_to, agent, source, allow_secret } = given;
    let origin = caller.origin(agent.as_deref(), source.map(Into::into))?;
    let secrets = caller.secrets(allow_secret)?;
    let moment = |at: Option<MomentOrNever>| at.map(|at| at.at(now));
    let (valid_from, valid_to) = (moment(valid_from), moment(valid_to));
    Ok(crate::Patch { text, kind, tags, meta, aliases, valid_from, valid_to, origin, secrets })
}

impl From<crate::memory::Listing> for Listing {
    fn from(listing: crate::memory::Listing) -> Self {
        Self { items: listing.items.into_iter().map(Memory::from).collect(), next: listing.next }
    }
}

impl From<crate::memory::Hit> for Hit {
    fn from(hit: crate::memory::Hit) -> Self {
        let crate::memory::Hit { memory, score, weak, telling, passage, why, matched, by_meaning, same, contradicts } =
            hit;
        let ids = |ids: Vec<crate::MemoryId>| ids.iter().map(ToString::to_string).collect();
        let (same, contradicts) = (ids(same), ids(contradicts));
        Self { memory: memory.into(), score, weak, telling, passage, why, matched, by_meaning, same, contradicts }
    }
}

impl From<crate::memory::Revision> for Revision {
    fn from(revision: crate::memory::Revision) -> Self {
        Self {
            version: revision.version,
            at: revision.at.to_string(),
            by: revision.by.to_string(),
            agent: revision.agent.map(|agent| agent.to_string()),
            source: revision.source.map(Source::from),
            changed: revision.changed,
            earlier: revision.earlier,
        }
    }
}
