//! Meshes of nodes of two versions, upgraded one by one. An older node never meets a format that it cannot
//! read; where it does all the same, its copy stops and nothing else.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_node::critical::AuditQuery;
use nexus_node::critical::{LockOptions, PutOptions};
use nexus_node::internals::coordinator::{Action, Coordinators};
use nexus_node::internals::formats::Formats;
use nexus_node::internals::inspect;
use nexus_node::memory::ListQuery;
use nexus_node::{MemoryId, NewMemory, NodeError};
use nexus_sim::{Sim, SimError, World, isolated};

/// The latest format of critical state.
const LATEST: u16 = Formats::LATEST.critical;
/// A value that is no text.
const BYTES: &[u8] = b"\xff\0\x80";
/// How long anything may take.
const SOON: Duration = Duration::from_secs(240);

async fn seen(sim: &Sim, no: usize) -> Option<Coordinators> {
    sim.on(no, async |node| Ok(node.critical()?.coordinators().await)).await.unwrap()
}

/// Waits until a node sees its coordinators so.
async fn until(sim: &Sim, no: usize, what: &str, wanted: impl Fn(&Coordinators) -> bool) -> Result<(), SimError> {
    let end = sim.now() + SOON;
    while sim.now() < end {
        if seen(sim, no).await.is_some_and(|seen| wanted(&seen)) {
            return Ok(());
        }
        sim.sleep(Duration::from_millis(250)).await;
    }
    Err(SimError::Failed(format!("n{no} after {SOON:?}: {what}; {:?}", seen(sim, no).await)))
}

/// A mesh of nodes of the first version, of which the first three vote.
async fn old_mesh(sim: &Sim, names: &[&str]) -> Result<(), SimError> {
    mesh_of(sim, names, Formats::FIRST).await
}

/// A mesh of nodes that read these formats, of which the first three vote.
async fn mesh_of(sim: &Sim, names: &[&str], formats: Formats) -> Result<(), SimError> {
    sim.with_coordinators();
    sim.with_formats(formats);
    for name in names {
        if sim.is_empty() {
            sim.found(name).await?
        } else {
            sim.add(name).await?
        };
    }
    for no in 0..names.len() {
        until(sim, no, "three voters and a copy for everybody", |seen| {
            seen.voters.len() == 3 && seen.learners.len() == names.len() - 3 && seen.quorum
        })
        .await?;
    }
    Ok(())
}

async fn upgrade(sim: &Sim, no: usize, formats: Formats) -> Result<(), SimError> {
    sim.stop(no).await;
    sim.reads(no, formats);
    sim.start(no).await
}

async fn put(sim: &Sim, no: usize, key: &str, value: impl AsRef<[u8]>) -> Result<(), SimError> {
    let end = sim.now() + SOON;
    loop {
        let put = sim.on(no, async |node| node.critical()?.put(key, value.as_ref(), PutOptions::default()).await).await;
        match put {
            // an election may be on
            Err(SimError::Node(_, NodeError::NoQuorum { .. } | NodeError::OutcomeUnknown { .. }))
                if sim.now() < end => {}
            other => return other.map(drop),
        }
    }
}

async fn value(sim: &Sim, no: usize, key: &str) -> Result<Option<String>, SimError> {
    Ok(bytes(sim, no, key).await?.map(|value| String::from_utf8(value).unwrap()))
}

async fn bytes(sim: &Sim, no: usize, key: &str) -> Result<Option<Vec<u8>>, SimError> {
    let end = sim.now() + SOON;
    loop {
        let got = sim.on(no, async |node| node.critical()?.get(key).await).await;
        match got {
            Err(SimError::Node(_, NodeError::NoQuorum { .. })) if sim.now() < end => {}
            other => return Ok(other?.map(|item| item.value)),
        }
    }
}

async fn codes(sim: &Sim, no: usize) -> Vec<(String, String)> {
    let status = sim.on(no, async |node| Ok(node.status().await)).await.unwrap();
    status.warnings.into_iter().map(|warning| (warning.code.to_owned(), warning.message)).collect()
}

async fn warned(sim: &Sim, no: usize, code: &str, of: &str) -> Result<(), SimError> {
    let end = sim.now() + SOON;
    while sim.now() < end {
        if codes(sim, no).await.iter().any(|(found, message)| found == code && message.contains(of)) {
            return Ok(());
        }
        sim.sleep(Duration::from_millis(250)).await;
    }
    Err(SimError::Failed(format!("n{no} never warned of {code} {of}: {:?}", codes(sim, no).await)))
}

async fn remember(sim: &Sim, no: usize, text: &str) -> Result<MemoryId, SimError> {
    sim.on(no, async |node| node.brain().remember(NewMemory::note(text)).await).await.map(|written| written.id)
}

/// The format of the entry of a memory, by the header on a node's disk.
fn format_on_disk(sim: &Sim, no: usize, memory: MemoryId) -> u16 {
    let store = sim.store_of(no).unwrap();
    inspect::format_of(&store.snapshot().unwrap(), memory).unwrap().unwrap()
}

/// A member that has a copy and no vote.
async fn learner_of(sim: &Sim) -> usize {
    let voters = seen(sim, 0).await.unwrap().voters;
    (0..sim.len()).find(|no| voters.iter().all(|seat| seat.did != sim.did(*no))).unwrap()
}

/// The texts of the memories on a node.
async fn texts(sim: &Sim, no: usize) -> Result<Vec<String>, SimError> {
    let listed = sim.on(no, async |node| node.brain().list(ListQuery::newest().limit(1_000)).await).await?;
    Ok(listed.items.into_iter().map(|memory| memory.text).collect())
}

/// Waits until a node has a memory with this text.
async fn knows(sim: &Sim, no: usize, text: &str) -> Result<(), SimError> {
    let end = sim.now() + SOON;
    while sim.now() < end {
        if texts(sim, no).await?.iter().any(|found| found == text) {
            return Ok(());
        }
        sim.sleep(Duration::from_millis(250)).await;
    }
    Err(SimError::Failed(format!("n{no} after {SOON:?} without {text}")))
}

/// Writes a memory on each node, and waits until all have all.
async fn talk(sim: &Sim, mark: &str) -> Result<(), SimError> {
    for no in sim.up() {
        let text = format!("{mark} by {}", sim.name(no));
        sim.on(no, async |node| node.brain().remember(NewMemory::note(&text)).await).await?;
    }
    sim.settled(SOON).await.map(drop)
}

fn digests(sim: &Sim, nodes: &[usize]) -> Vec<Option<(u64, [u8; 32])>> {
    nodes.iter().map(|no| sim.node(*no).unwrap().critical().unwrap().digest()).collect()
}

/// Waits until these copies have applied the same, and it is the same.
async fn agree(sim: &Sim, nodes: &[usize]) -> Result<(), SimError> {
    let end = sim.now() + SOON;
    while sim.now() < end {
        let all = digests(sim, nodes);
        if let Some(first) = all[0]
            && all.iter().all(|digest| digest.is_some_and(|(index, _)| index == first.0))
        {
            assert!(all.iter().all(|digest| *digest == Some(first)), "copies differ: {all:?}");
            return Ok(());
        }
        sim.sleep(Duration::from_millis(100)).await;
    }
    Err(SimError::Failed(format!("copies never met: {:?}", digests(sim, nodes))))
}

/// promise: Keys and locks | A mesh is upgraded node by node, and keys, locks and memory go on all along
#[test]
fn a_mesh_is_upgraded_node_by_node_and_raised_once_the_last_copy_reads_it() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                old_mesh(&sim, &["laptop", "office", "cloud", "desk"]).await?;
                put(&sim, 0, "kept", "all along").await?;
                let held = LockOptions::default().ttl(Duration::from_secs(3_600));
                let token = sim.on(1, async |node| node.critical()?.acquire("deploy", held).await).await?.token;
                let first = remember(&sim, 0, "before anything").await?;
                talk(&sim, "before").await?;
                for no in [3, 0, 1, 2] {
                    assert_eq!(seen(&sim, 0).await.unwrap().format, 0, "not before the last one");
                    upgrade(&sim, no, Formats::LATEST).await?;
                    for writer in 0..4 {
                        put(&sim, writer, &format!("k{no}"), &writer.to_string()).await?;
                        assert_eq!(value(&sim, (writer + 1) % 4, &format!("k{no}")).await?, Some(writer.to_string()));
                    }
                    talk(&sim, &format!("after {no}")).await?;
                    if no == 0 {
                        warned(&sim, 0, "old_members", "cloud").await?;
                        warned(&sim, 0, "old_members", "office").await?;
                    }
                    if no != 2 {
                        let memory = remember(&sim, no, "by a new node among old ones").await?;
                        assert_eq!(format_on_disk(&sim, no, memory), Formats::FIRST.entry);
                        // bytes wait for the raise, also at a node without a vote, and nothing is written
                        let refused = put(&sim, no, "bytes", BYTES).await.unwrap_err();
                        let not_raised = NodeError::NotRaised { what: "", needs: 2, format: 0 }.code();
                        assert!(
                            matches!(&refused, SimError::Node(_, error) if error.code() == not_raised),
                            "{refused}"
                        );
                        assert_eq!(bytes(&sim, 2, "bytes").await?, None);
                    }
                }
                for no in 0..4 {
                    until(&sim, no, "raised, with a copy for everybody", |seen| {
                        seen.format == LATEST && seen.voters.len() == 3 && seen.learners.len() == 1
                    })
                    .await?;
                    assert!(codes(&sim, no).await.iter().all(|(code, _)| code != "old_members" && code != "too_new"));
                }
                assert_eq!(value(&sim, 2, "kept").await?.as_deref(), Some("all along"));
                for no in 0..4 {
                    put(&sim, no, "bytes", [BYTES, &[u8::try_from(no).unwrap()]].concat()).await?;
                    for reader in 0..4 {
                        let read = bytes(&sim, reader, "bytes").await?.unwrap();
                        assert_eq!(read, [BYTES, &[u8::try_from(no).unwrap()]].concat());
                    }
                }
                let mut written = vec![(first, Formats::FIRST.entry)];
                for no in 0..4 {
                    written.push((remember(&sim, no, "raised").await?, Formats::LATEST.entry));
                }
                let lock = sim.on(2, async |node| node.critical()?.lock_of("deploy").await).await?.unwrap();
                assert_eq!(lock.lease.token, token);
                talk(&sim, "at the end").await?;
                for (memory, format) in written {
                    assert_eq!([0, 1, 2, 3].map(|no| format_on_disk(&sim, no, memory)), [format; 4]);
                }
                agree(&sim, &[0, 1, 2, 3]).await?;
                let audit =
                    sim.on(0, async |node| node.critical()?.audit(AuditQuery::default().limit(1_000)).await).await?;
                let raises = audit.items.iter().filter(|entry| entry.deed.action == Action::Raise).count();
                assert_eq!(raises, 1);
                let check = sim.on(0, async |node| node.critical()?.verify_audit(0).await).await?;
                assert!(check.ok(), "{check:?}");
                Ok::<(), SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A copy that does not read the next format is taken out before the raise, and comes back after its upgrade; `status` names it. An old voter gives way to a newer copy
#[test]
fn an_old_learner_is_taken_out_before_a_raise_and_comes_back_once_it_is_upgraded() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                old_mesh(&sim, &["laptop", "office", "cloud", "desk"]).await?;
                let voters = seen(&sim, 0).await.unwrap().voters;
                let old = (0..4).find(|no| voters.iter().all(|seat| seat.did != sim.did(*no))).unwrap();
                let others: Vec<usize> = (0..4).filter(|no| *no != old).collect();
                put(&sim, old, "k", "before").await?;
                for no in others.clone() {
                    upgrade(&sim, no, Formats::LATEST).await?;
                }
                for no in others.clone() {
                    until(&sim, no, "raised without it", |seen| seen.format == LATEST && seen.learners.is_empty())
                        .await?;
                    warned(&sim, no, "old_members", &sim.name(old)).await?;
                }
                warned(&sim, old, "too_new", &format!("format {LATEST}")).await?;
                // bytes are nothing that it reads; it is not shown something else
                put(&sim, others[0], "bytes", BYTES).await?;
                let unread = sim.on(old, async |node| node.critical()?.get("bytes").await).await.unwrap_err();
                assert!(matches!(&unread, SimError::Node(_, NodeError::NoQuorum { .. })), "{unread}");
                let refused = sim.on(old, async |node| {
                    node.critical()?.cas("bytes", Some(b"text"), "new", PutOptions::default()).await
                });
                let refused = refused.await.unwrap_err();
                assert!(matches!(&refused, SimError::Node(_, NodeError::Conflict(_))), "{refused}");
                // it has no copy any more, and asks those who have one
                put(&sim, old, "k", "from the old one").await?;
                put(&sim, others[0], "l", "from a new one").await?;
                assert_eq!(value(&sim, others[1], "k").await?.as_deref(), Some("from the old one"));
                assert_eq!(value(&sim, old, "l").await?.as_deref(), Some("from a new one"));

                upgrade(&sim, old, Formats::LATEST).await?;
                until(&sim, old, "a copy again", |seen| seen.format == LATEST && seen.learners.len() == 1).await?;
                agree(&sim, &[0, 1, 2, 3]).await?;
                for no in 0..4 {
                    let left = codes(&sim, no).await;
                    assert!(left.iter().all(|(code, _)| code != "old_members" && code != "too_new"), "{left:?}");
                }
                talk(&sim, "at the end").await?;
                Ok::<(), SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A copy that does not read the next format is taken out before the raise, and comes back after its upgrade; `status` names it. An old voter gives way to a newer copy
#[test]
fn an_old_voter_gives_way_to_a_settled_copy_of_the_new_version() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                old_mesh(&sim, &["laptop", "office", "cloud", "desk"]).await?;
                let voters = seen(&sim, 0).await.unwrap().voters;
                let learner = (0..4).find(|no| voters.iter().all(|seat| seat.did != sim.did(*no))).unwrap();
                let old = (1..4).find(|no| *no != learner).unwrap();
                for no in (0..4).filter(|no| *no != old) {
                    upgrade(&sim, no, Formats::LATEST).await?;
                }
                let gone = sim.did(old);
                until(&sim, 0, "raised by the other three", |seen| {
                    seen.format == LATEST && seen.voters.len() == 3 && seen.voters.iter().all(|seat| seat.did != gone)
                })
                .await?;
                put(&sim, old, "k", "through the others").await?;
                upgrade(&sim, old, Formats::LATEST).await?;
                until(&sim, old, "a copy again", |seen| seen.learners.iter().any(|seat| seat.did == gone)).await?;
                agree(&sim, &[0, 1, 2, 3]).await
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A mesh is upgraded node by node, and keys, locks and memory go on all along
#[test]
fn an_old_node_that_was_away_for_the_raise_shows_what_it_has_and_catches_up_after_its_upgrade() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                old_mesh(&sim, &["laptop", "office", "cloud", "desk"]).await?;
                talk(&sim, "before").await?;
                let old = learner_of(&sim).await;
                let before = texts(&sim, old).await?;
                assert_eq!(before.len(), 4);
                sim.stop(old).await;
                let others: Vec<usize> = (0..4).filter(|no| *no != old).collect();
                for no in others.clone() {
                    upgrade(&sim, no, Formats::LATEST).await?;
                }
                for no in others.clone() {
                    until(&sim, no, "raised without it", |seen| seen.format == LATEST && seen.learners.is_empty())
                        .await?;
                }
                talk(&sim, "while it was away").await?;

                sim.start(old).await?;
                warned(&sim, old, "too_new", &format!("format {LATEST}")).await?;
                assert_eq!(texts(&sim, old).await?, before);
                let own = remember(&sim, old, "by the old one").await?;
                for no in others.clone() {
                    knows(&sim, no, "by the old one").await?;
                    assert_eq!(format_on_disk(&sim, no, own), Formats::FIRST.entry);
                }
                assert_eq!(texts(&sim, old).await?.len(), before.len() + 1, "the rest waits for its upgrade");

                upgrade(&sim, old, Formats::LATEST).await?;
                until(&sim, old, "a copy again", |seen| seen.format == LATEST && seen.learners.len() == 1).await?;
                talk(&sim, "at the end").await?;
                assert_eq!(texts(&sim, old).await?.len(), 4 + 3 + 1 + 4);
                let left = codes(&sim, old).await;
                assert!(left.iter().all(|(code, _)| code != "too_new"), "{left:?}");
                agree(&sim, &[0, 1, 2, 3]).await
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A later format is raised by a committed command once every copy reads it, and is never lowered
#[test]
fn without_a_quorum_the_format_stays_and_status_names_the_old_member_in_reach() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                old_mesh(&sim, &["laptop", "office", "cloud", "desk"]).await?;
                let old = learner_of(&sim).await;
                let voters: Vec<usize> = (0..4).filter(|no| *no != old).collect();
                let (here, away) = (voters[0], &voters[1..]);
                upgrade(&sim, here, Formats::LATEST).await?;
                until(&sim, here, "one of three again", |seen| seen.voters.len() == 3 && seen.quorum).await?;
                for no in away {
                    sim.stop(*no).await;
                }
                until(&sim, here, "without a leader", |seen| seen.leader.is_none()).await?;
                sim.sleep(Duration::from_secs(60)).await;
                for no in [here, old] {
                    assert_eq!(seen(&sim, no).await.unwrap().format, 0, "n{no}");
                }
                assert_eq!(seen(&sim, here).await.unwrap().leader, None);
                let runs_older = format!("{} runs an older version", sim.name(old));
                warned(&sim, here, "old_members", &runs_older).await?;

                for no in away.iter().chain([&old]) {
                    upgrade(&sim, *no, Formats::LATEST).await?;
                }
                for no in 0..4 {
                    until(&sim, no, "raised", |seen| seen.format == LATEST).await?;
                }
                agree(&sim, &[0, 1, 2, 3]).await
            })
            .unwrap();
    });
}

/// promise: Keys and locks | Values are any bytes once every copy reads format 2; before, such a write is refused with `not_raised`, and text goes on
#[test]
fn bytes_are_refused_in_words_until_the_format_that_has_them_is_raised() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let middle = Formats { entry: 1, critical: 1 };
                mesh_of(&sim, &["laptop", "office", "cloud"], middle).await?;
                until(&sim, 0, "of format 1", |seen| seen.format == 1).await?;
                put(&sim, 0, "k", "text").await?;
                upgrade(&sim, 0, Formats::LATEST).await?;
                upgrade(&sim, 1, Formats::LATEST).await?;
                until(&sim, 0, "three voters", |seen| seen.voters.len() == 3 && seen.quorum).await?;
                for no in [0, 2] {
                    let refused = put(&sim, no, "k", BYTES).await.unwrap_err();
                    let SimError::Node(_, NodeError::NotRaised { needs: 2, format: 1, .. }) = &refused else {
                        panic!("{refused}")
                    };
                }
                warned(&sim, 0, "old_members", "cloud").await?;
                put(&sim, 0, "k", "é").await?;
                upgrade(&sim, 2, Formats::LATEST).await?;
                until(&sim, 2, "raised", |seen| seen.format == LATEST).await?;
                put(&sim, 2, "k", BYTES).await?;
                assert_eq!(bytes(&sim, 0, "k").await?.as_deref(), Some(BYTES));
                agree(&sim, &[0, 1, 2]).await
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A copy that meets the writing of a later version stops and says `too_new`; its node and the next start go on, and the copy does after its upgrade
#[test]
fn a_copy_that_meets_a_later_format_stops_and_goes_on_after_its_upgrade() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                sim.with_coordinators();
                for name in ["laptop", "office", "cloud"] {
                    if sim.is_empty() {
                        sim.found(name).await?
                    } else {
                        sim.add(name).await?
                    };
                }
                until(&sim, 0, "three voters of the new format", |seen| {
                    seen.voters.len() == 3 && seen.format == LATEST
                })
                .await?;
                put(&sim, 0, "k", "before").await?;
                agree(&sim, &[0, 1, 2]).await?;

                // set back to the version before: what is on its disk is too new for it
                upgrade(&sim, 1, Formats::FIRST).await?;
                warned(&sim, 1, "too_new", &format!("format {LATEST}")).await?;
                let local = sim.on(1, async |node| node.critical()?.get_local("k")).await.unwrap_err();
                assert!(matches!(&local, SimError::Node(_, error) if error.code() == "too_new"), "{local}");
                assert_eq!(sim.node(1).unwrap().critical().unwrap().digest(), None);
                warned(&sim, 0, "old_members", "office").await?;
                // keys go on through the others, and memory everywhere
                put(&sim, 1, "k", "while it stood still").await?;
                assert_eq!(value(&sim, 2, "k").await?.as_deref(), Some("while it stood still"));
                remember(&sim, 2, "meanwhile").await?;
                knows(&sim, 0, "meanwhile").await?;
                // the next start is no other; entries of the later format wait for the upgrade
                upgrade(&sim, 1, Formats::FIRST).await?;
                remember(&sim, 0, "once more").await?;
                knows(&sim, 2, "once more").await?;
                assert!(texts(&sim, 1).await?.is_empty());

                upgrade(&sim, 1, Formats::LATEST).await?;
                until(&sim, 1, "one of three again", |seen| seen.voters.len() == 3 && seen.role.is_some()).await?;
                agree(&sim, &[0, 1, 2]).await?;
                let codes = codes(&sim, 1).await;
                assert!(codes.iter().all(|(code, _)| code != "too_new"), "{codes:?}");
                talk(&sim, "at the end").await?;
                assert_eq!(texts(&sim, 1).await?.len(), 5);
                Ok::<(), SimError>(())
            })
            .unwrap();
    });
}
