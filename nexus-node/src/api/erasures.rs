//! Erasures: what is to go from every disk, and how far the members are.

use std::collections::BTreeSet;

use nexus_identity::Did;

use super::extract::{Json, Path};
use super::problem::Problem;
use super::wire;
use crate::Brain;
use crate::brain::{ErasableId, EraseFate, ErasedThing, ErasureStatus};
use crate::memory::MemoryRef;

pub(super) async fn erase(brain: Brain, Json(erase): Json<wire::Erase>) -> Result<axum::Json<wire::Erased>, Problem> {
    let items = brain.erase(erase.ids.into_iter().map(MemoryRef::from).collect()).await?;
    Ok(axum::Json(wire::Erased { items: items.iter().map(|item| erased(&brain, item)).collect() }))
}

pub(super) async fn status(brain: Brain, Path(id): Path) -> Result<axum::Json<wire::ErasureStatus>, Problem> {
    let (id, status) = brain.erasure(id).await?;
    Ok(axum::Json(shown(&brain, &id, &status)))
}

fn erased(brain: &Brain, ErasedThing { id, fate }: &ErasedThing) -> wire::ErasedItem {
    let item = wire::ErasedItem { id: id.to_string(), kind: id.kind().to_owned(), ..wire::ErasedItem::default() };
    match fate {
        EraseFate::Erased { others, .. } => {
            wire::ErasedItem { erased: true, others: others.iter().map(|other| brain.name_of(other)).collect(), ..item }
        }
        EraseFate::Forgotten { author } => {
            let author = brain.name_of(author);
            let why = format!("{author} wrote it: {author} erases it, or an admin");
            wire::ErasedItem { forgotten: true, author: Some(author), why: Some(why), ..item }
        }
        EraseFate::Whole { others: 0 } => {
            let why = "it is of an earlier format, which has its texts and its facts in one piece".to_owned();
            wire::ErasedItem { why: Some(why), ..item }
        }
        EraseFate::Whole { others } => {
            let why = format!(
                "it stands in one piece with {others} other writes, of an earlier format: erase these, too, or write them again first"
            );
            wire::ErasedItem { why: Some(why), ..item }
        }
        EraseFate::NotPermitted { author } => {
            let author = brain.name_of(author);
            let why = match id {
                ErasableId::Memory(_) | ErasableId::Task(_) => {
                    format!("{author} submitted it: {author} erases its texts, or an admin")
                }
                #[cfg(feature = "documents")]
                ErasableId::Document(_) => {
                    format!("{author} wrote in it, too, and a document is erased whole: an admin can")
                }
            };
            wire::ErasedItem { author: Some(author), why: Some(why), ..item }
        }
        EraseFate::Open => {
            wire::ErasedItem { why: Some("it has not ended: `nexus-node task cancel` ends it".to_owned()), ..item }
        }
        EraseFate::Missing => wire::ErasedItem { why: Some("it is erased already".to_owned()), ..item },
    }
}

fn shown(brain: &Brain, id: &ErasableId, status: &ErasureStatus) -> wire::ErasureStatus {
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
