//! Erasures: what is to go from every disk, and how far the members are.

use std::collections::BTreeSet;

use nexus_identity::Did;

use super::extract::{Json, Path};
use super::problem::Problem;
use super::wire;
use crate::Brain;
use crate::brain::{ErasedMemory, ErasureStatus};
use crate::engine::ErasedRecord;
use crate::memory::{MemoryId, MemoryRef};

pub(super) async fn erase(brain: Brain, Json(erase): Json<wire::Erase>) -> Result<axum::Json<wire::Erased>, Problem> {
    let items = brain.erase(erase.ids.into_iter().map(MemoryRef::from).collect()).await?;
    Ok(axum::Json(wire::Erased { items: items.iter().map(|item| erased(&brain, item)).collect() }))
}

pub(super) async fn status(brain: Brain, Path(id): Path) -> Result<axum::Json<wire::ErasureStatus>, Problem> {
    let (id, status) = brain.erasure(id).await?;
    Ok(axum::Json(shown(&brain, id, &status)))
}

fn erased(brain: &Brain, ErasedMemory { id, fate }: &ErasedMemory) -> wire::ErasedItem {
    let item = wire::ErasedItem { id: id.to_string(), ..wire::ErasedItem::default() };
    match fate {
        ErasedRecord::Erased { others, .. } => {
            wire::ErasedItem { erased: true, others: others.iter().map(|other| brain.name_of(other)).collect(), ..item }
        }
        ErasedRecord::Forgotten { author } => {
            let author = brain.name_of(author);
            let why = format!("{author} wrote it: {author} erases it, or an admin");
            wire::ErasedItem { forgotten: true, author: Some(author), why: Some(why), ..item }
        }
        ErasedRecord::Whole { others } => {
            let why = format!(
                "it stands in one piece with {others} other writes, of an earlier format: erase these, too, or write them again first"
            );
            wire::ErasedItem { why: Some(why), ..item }
        }
        ErasedRecord::NoRecord => wire::ErasedItem { why: Some("it is erased already".to_owned()), ..item },
    }
}

fn shown(brain: &Brain, id: MemoryId, status: &ErasureStatus) -> wire::ErasureStatus {
    let names = |who: &BTreeSet<Did>| who.iter().map(|member| brain.name_of(member)).collect();
    wire::ErasureStatus {
        id: id.to_string(),
        erased: !status.by.is_empty(),
        by: names(&status.by),
        at: status.at.map(|at| at.to_string()),
        hidden: names(&status.hidden),
        gone: names(&status.gone),
        missing: names(&status.missing),
    }
}
