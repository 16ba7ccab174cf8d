//! Texts that are too long for an entry: every node has their beginning, and a blob has all of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_crdt::{Core, Field, Kind, LogId, SpaceId, Target, TextAttachment, Verified, Write, Writes};
use nexus_node::memory::ListQuery;
use nexus_node::{Memory, MemoryId, NewMemory, Node, NodeError, Patch};
use serde_json::json;

use crate::rogue::Rogue;
use crate::world::{Link, World, eventually};

const WORLD: World = World(230);
const ROGUE: u8 = 9;

/// A text of so many bytes with other words at each place.
fn long(bytes: usize) -> String {
    let mut text = String::from("The runbook of the \"orchard\" cluster.\n");
    for n in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&format!("Step {n}: restart the pump number {n}.\n"));
    }
    text
}

async fn shown(node: &Node, id: MemoryId) -> Memory {
    eventually("the memory is here", || async { node.brain().get(id).await.is_ok() }).await;
    node.brain().get(id).await.unwrap()
}

/// promise: Entries and memories | A text of up to 4 MiB is remembered: all nodes have its first 16 KiB and find it by these, and get the rest from whoever has it
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_remembered_by_its_beginning_and_read_whole() {
    let one = WORLD.start(0, Link::Memory).await;
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    let text = long(300_000);
    let id = one.brain().remember(NewMemory::note(&text)).await.unwrap().id;
    let memory = shown(&two, id).await;
    let attachment = memory.attachment.unwrap();
    assert_eq!((attachment.bytes(), memory.text.len() <= 16 << 10), (text.len() as u64, true));
    assert!(text.starts_with(&memory.text) && memory.text.len() > 15 << 10);
    assert_eq!(two.brain().recall("orchard cluster").await.unwrap().hits[0].memory.id, id);

    assert_eq!(two.brain().whole_text(&memory).await.unwrap(), text);
    // the memory refers to it on both nodes
    for node in [&one, &two] {
        assert_eq!(node.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 0);
    }
    let short = one.brain().remember(NewMemory::note("short")).await.unwrap().id;
    let short = shown(&one, short).await;
    assert_eq!(one.brain().whole_text(&short).await.unwrap(), "short");

    let most = one.brain().remember(NewMemory::note("x".repeat((4 << 20) + 1))).await.unwrap_err();
    assert!(matches!(most, NodeError::TooLarge { max: 4_194_304, .. }), "{most}");
}

/// promise: Entries and memories | An edit of other fields, or with the beginning as it was, keeps the rest of a long text; another text replaces all of it
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_keeps_or_replaces_the_whole_of_a_long_text() {
    let node = WORLD.start(0, Link::Memory).await;
    let brain = node.brain();
    let (text, other) = (long(100_000), format!("Anew. {}", long(50_000)));
    let id = brain.remember(NewMemory::note(&text).key("runbook")).await.unwrap().id;
    let before = shown(&node, id).await;
    let tagged = brain.edit(id, Patch::default().tags(["ops"])).await.unwrap();
    let same = brain.edit(id, Patch::text(&before.text)).await.unwrap();
    assert_eq!((tagged.attachment, same.attachment), (before.attachment, before.attachment));
    assert_eq!(brain.whole_text(&same).await.unwrap(), text);
    // the same text with the same key changes nothing
    assert!(!brain.remember(NewMemory::note(&text).key("runbook").tag("ops")).await.unwrap().replaced);

    let replaced = brain.edit(id, Patch::text(&other)).await.unwrap();
    assert_eq!(brain.whole_text(&replaced).await.unwrap(), other);
    let short = brain.edit(id, Patch::text("It is gone.")).await.unwrap();
    assert_eq!((short.text.as_str(), short.attachment), ("It is gone.", None));
    // the history refers to all that it had
    assert_eq!(node.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 0);

    // two that differ behind their beginnings are two
    let [first, second] = ["one", "two"].map(|end| format!("{}{end}", long(40_000)));
    let first = brain.remember(NewMemory::note(first)).await.unwrap().id;
    let second = brain.remember(NewMemory::note(second)).await.unwrap().id;
    let found = brain.recall("orchard cluster").await.unwrap().hits;
    let found: Vec<MemoryId> = found.iter().map(|hit| hit.memory.id).collect();
    assert!(found.contains(&first) && found.contains(&second), "{found:?}");

    brain.forget(first).await.unwrap();
    let back = brain
        .unforget(first, nexus_node::memory::Origin::default(), nexus_node::memory::Secrets::default())
        .await
        .unwrap();
    assert!(brain.whole_text(&back).await.unwrap().ends_with("one"));
}

/// promise: Entries and memories | Texts that are written apart keep each its own rest
#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_written_apart_keep_each_its_own_rest() {
    let one = WORLD.start(0, Link::Memory).await;
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    let texts = [format!("One. {}", long(40_000)), "Two, in short.".to_owned()];
    let mut apart = None;
    for _ in 0..50 {
        let id = one.brain().remember(NewMemory::note("first")).await.unwrap().id;
        shown(&two, id).await;
        let [of_one, of_two] = [(&one, &texts[0]), (&two, &texts[1])].map(|(node, text)| {
            let brain = node.brain();
            async move { brain.edit(id, Patch::text(text)).await.unwrap() }
        });
        tokio::join!(of_one, of_two);
        let same = async || shown(&one, id).await.version == shown(&two, id).await.version;
        eventually("both have the same", same).await;
        let memory = shown(&two, id).await;
        // else one knew the other's text before it wrote its own
        if !memory.conflicts.is_empty() {
            apart = Some((id, memory));
            break;
        }
    }
    let (id, memory) = apart.expect("texts that are written apart");
    let whole = two.brain().whole_text(&memory).await.unwrap();
    assert!(texts.contains(&whole));
    // whichever of them is kept
    for text in &texts {
        let beginning = TextAttachment::beginning(text);
        let kept = two.brain().edit(id, Patch::text(beginning)).await.unwrap();
        assert_eq!(kept.attachment.is_some(), beginning.len() < text.len());
        assert_eq!(two.brain().whole_text(&kept).await.unwrap(), *text);
        two.brain().edit(id, Patch::text(text)).await.unwrap();
    }
}

/// promise: Entries and memories | A member's claim about a blob that is not so is refused when it is read; nothing longer than a text is fetched for it
#[tokio::test(flavor = "multi_thread")]
async fn a_rogues_attachment_is_nobodys_text() {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
    let mut line = rogue.line(node.did()).await;
    let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(ROGUE) };
    let introduction = WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(ROGUE).to_bytes(), ROGUE);
    line.entries([&*introduction]).await.unwrap();

    let text = "an innocent beginning";
    let [other, binary] = [&b"something else"[..], b"an innocent beginning \xff\xfe"];
    let blobs = node.blobs();
    let (other, binary) = (blobs.add(other).await.unwrap(), blobs.add(binary).await.unwrap());
    let huge = blobs.add(std::io::Read::take(std::io::repeat(b'x'), 5 << 20)).await.unwrap();
    let claims = [(other, 14), (other, 99), (binary, binary.size), (huge, 5 << 20), (huge, u64::MAX)];
    let cores = claims.map(|(blob, bytes)| {
        let attachment = TextAttachment::new(*blob.hash.as_bytes(), bytes, text);
        Core { text: text.to_owned(), attachment: Some(attachment), ..Core::default() }.to_json()
    });
    let odd = [json!("x"), json!({ "blob": "ab", "bytes": 7, "begins": "" }), json!([{}]), json!(-1)];
    let odd = odd.map(|attachment| json!({ "text": "an odd one", "attachment": attachment }).to_string());
    let create =
        |value| Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] };
    let writes = Writes(cores.into_iter().chain(odd).map(create).collect());
    let entry: Verified = WORLD.entry(WORLD.log(ROGUE), None, Kind::WRITES, writes.encode(), ROGUE);
    line.entries([&*entry]).await.unwrap();

    eventually("all are here", || async { node.brain().list(ListQuery::default()).await.unwrap().items.len() == 9 })
        .await;
    for memory in node.brain().list(ListQuery::default()).await.unwrap().items {
        match memory.text == text && memory.attachment.is_some() {
            true => {
                let refused = node.brain().whole_text(&memory).await.unwrap_err();
                assert!(refused.to_string().contains("the blob with its text"), "{refused}");
            }
            false => assert_eq!(node.brain().whole_text(&memory).await.unwrap(), memory.text),
        }
    }
}
