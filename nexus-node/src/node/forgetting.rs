//! Memories that were forgotten or expired long ago are erased by the node of their author. An admin's node does so for authors
//! who are members no more.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use nexus_crdt::{Dot, Field, Members};
use nexus_identity::{Did, Role, Timestamp};
use tokio::sync::watch;

use crate::engine::{Command, EraseTarget, Outcome};
use crate::error::NodeError;
use crate::follow::Source;
use crate::ledger::rows::{self, Eno, LogNo, RecordRow, read_record_key, unreadable};
use crate::ledger::{author_of, each_write, entry_id_of, read_core};
use crate::runtime::EngineHandle;
use crate::store::{Order, StoreError, Table, View};

/// The longest time between the start and the first look at all memories. A laptop may run for an hour a day.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(60);
/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// The shortest one.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
/// The looks within the time after which something is erased.
const LOOKS: u32 = 4;
/// The memories that are looked at in one go.
const PORTION: usize = 1_000;
/// The pause between two portions, so that nobody waits for them.
const PAUSE: Duration = Duration::from_millis(20);
/// The most memories that one command erases.
const TOGETHER: usize = 64;

/// The time after which what is forgotten is erased; `None` for never.
pub(super) type ForgetAfter = watch::Sender<Option<Duration>>;

/// Erases what is due, until the node ends.
pub(super) async fn erase_forgotten(
    source: Source,
    engine: EngineHandle,
    mut after: watch::Receiver<Option<Duration>>,
) {
    let (world, mut members) = (source.world.clone(), source.identity.follow());
    let mut longest = FIRST_LOOK_AFTER;
    loop {
        let within = *after.borrow_and_update();
        let wait = within.map(|within| (within / LOOKS).clamp(LOOK_EVERY_MIN, longest));
        // the members end with the node
        let ended = async { while members.changed().await.is_ok() {} };
        tokio::select! {
            () = ended => return,
            () = async {
                match wait {
                    Some(wait) => world.sleep_until(world.now() + wait).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = after.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let Some(within) = within else { continue };
        longest = LOOK_EVERY;
        match pass(&source, &engine, within).await {
            Ok(()) => {}
            Err(NodeError::Stopping(_)) => return,
            Err(error) => tracing::warn!(%error, "what was forgotten long ago is not erased for now"),
        }
    }
}

/// Looks at all memories once.
async fn pass(source: &Source, engine: &EngineHandle, within: Duration) -> Result<(), NodeError> {
    let (world, mut behind) = (&source.world, None);
    loop {
        let (store, members, me) = (source.store.clone(), source.identity.members(), source.identity.me());
        let before = Timestamp::from_ms(world.wall().as_ms().saturating_sub(millis(within)));
        let look =
            move || Ok::<_, NodeError>(due(&store.snapshot()?, &Eyes { members: &members, me, before }, behind)?);
        let Portion { due, last } = world.background(look).await??;
        for some in due.chunks(TOGETHER) {
            let erase = || Command::Erase(some.iter().map(|record| EraseTarget::Record(*record)).collect());
            match engine.run_once_there_is_room(world, erase).await? {
                Outcome::Erased { .. } => {}
                // the mesh does not erase yet, or this node writes nothing
                _ => return Ok(()),
            }
        }
        if last.is_none() {
            return Ok(());
        }
        behind = last;
        world.sleep_until(world.now() + PAUSE).await;
    }
}

/// Some memories that are due, and the place of the last one that was looked at unless that was the end.
#[derive(Debug, Default)]
struct Portion {
    due: Vec<Dot>,
    last: Option<(Eno, u16)>,
}

/// How this node sees memories.
struct Eyes<'a> {
    members: &'a Members,
    me: Did,
    /// The time before which something was forgotten that is to be erased.
    before: Timestamp,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn due(view: &dyn View, eyes: &Eyes<'_>, behind: Option<(Eno, u16)>) -> Result<Portion, StoreError> {
    let from = behind.map(|(eno, index)| rows::record_key(eno, index));
    let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
    let mut found = Vec::with_capacity(PORTION);
    view.try_scan(Table::Records, (from, Bound::Unbounded), Order::Forward, &mut |key, row| {
        let place = read_record_key(key).ok_or_else(|| unreadable(Table::Records))?;
        found.push((place, rows::decode::<RecordRow>(Table::Records, row)?));
        Ok(if found.len() < PORTION { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let mut portion =
        Portion { due: Vec::new(), last: found.last().filter(|_| found.len() == PORTION).map(|(at, _)| *at) };
    let mut authors = BTreeMap::new();
    for ((eno, index), row) in found {
        let author = author_of_log(view, &mut authors, row.log)?;
        if !is_ours(eyes.members, &eyes.me, &author) {
            continue;
        }
        let Some(entry) = entry_id_of(view, eno)? else { continue };
        let record = Dot { entry, index };
        let ended = match row.gone {
            true => forgotten_at(view, &row, record, &author, (eyes.members, &mut authors))?,
            false => read_core(view, eno, &row)?.expires_at.map(Timestamp::from_ms),
        };
        if ended.is_some_and(|ended| ended <= eyes.before) {
            portion.due.push(record);
        }
    }
    Ok(portion)
}

/// Whether this node erases what an author forgot: its own member's, and as an admin that of members who are none any more.
fn is_ours(members: &Members, me: &Did, author: &Did) -> bool {
    members.same_line(author, me) || members.allows(me, Role::Admin) && members.get(&members.last_key(author)).is_none()
}

/// The first word that a record is forgotten by somebody who may erase it.
fn forgotten_at(
    view: &dyn View,
    row: &RecordRow,
    record: Dot,
    author: &Did,
    (members, authors): (&Members, &mut BTreeMap<LogNo, Did>),
) -> Result<Option<Timestamp>, StoreError> {
    let mut said = Vec::new();
    each_write(view, Table::Live, row.space, record, &mut |field, _, write| {
        if field.as_str() == Field::GONE {
            said.push((write.log, write.hlc.time()));
        }
        Ok(())
    })?;
    let mut first = None;
    for (log, at) in said {
        let by = author_of_log(view, authors, log)?;
        if members.same_line(&by, author) || members.allowed_once(&by, Role::Admin) {
            first = Some(first.map_or(at, |before: Timestamp| before.min(at)));
        }
    }
    Ok(first)
}

fn author_of_log(view: &dyn View, known: &mut BTreeMap<LogNo, Did>, log: LogNo) -> Result<Did, StoreError> {
    if let Some(author) = known.get(&log) {
        return Ok(*author);
    }
    let author = author_of(view, log)?;
    known.insert(log, author);
    Ok(author)
}
