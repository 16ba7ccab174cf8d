//! No circle of files: no file of a crate names something of another that names, over others, something of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::{Arrows, Crate, made, workspace};

/// The environment variable that has all arrows of a circle shown, not the shortest way around.
const WHOLE: &str = "NEXUS_CIRCLES";

/// Circles that are there: a crate, the files below its `src`, and why they are in a circle.
const CIRCLES: &[(&str, &[&str], &str)] = &[
    (
        "nexus-crdt",
        &["members.rs", "members/lines.rs", "members/verdict.rs"],
        "verdicts and lines are worked out from the members, which keep them",
    ),
    (
        "nexus-secrets",
        &["abroad.rs", "anchors.rs", "name.rs"],
        "a value behind a telling name is looked at by the rules of all anchors",
    ),
    (
        "nexus-node",
        &["api/guest.rs", "api/openapi.rs", "api/state.rs"],
        "a guest has routes whose handlers get the API, and the API keeps its guests",
    ),
    (
        "nexus-node",
        &[
            "blobs.rs",
            "blobs/collecting.rs",
            "blobs/copies.rs",
            "blobs/damage.rs",
            "blobs/directory.rs",
            "blobs/evicting.rs",
            "blobs/fetching.rs",
            "blobs/figures.rs",
            "blobs/keeping.rs",
            "blobs/sharing.rs",
            "blobs/shelf.rs",
            "blobs/shelf/disk.rs",
            "blobs/shelf/memory.rs",
            "blobs/shelf/partial.rs",
        ],
        "the handle and its parts name each other: the shelf is to stand below, the handle above",
    ),
    (
        "nexus-node",
        &[
            "brain.rs",
            "brain/conflicts.rs",
            "brain/listed.rs",
            "brain/projects.rs",
            "brain/recall.rs",
            "brain/supersede.rs",
            "brain/vocabulary.rs",
        ],
        "each part adds questions to the handle, whose types are in its file",
    ),
    (
        "nexus-node",
        &["config.rs", "config/edit.rs", "config/nearest.rs", "config/settings.rs"],
        "one table of keys, from which settings are read, edited and guessed",
    ),
    (
        "nexus-node",
        &[
            "coordinator/applied.rs",
            "coordinator/audit.rs",
            "coordinator/audit/check.rs",
            "coordinator/audit/page.rs",
            "coordinator/audit/rows.rs",
            "coordinator/certificate.rs",
            "coordinator/copied.rs",
            "coordinator/govern.rs",
            "coordinator/group.rs",
            "coordinator/hearsay.rs",
            "coordinator/log.rs",
            "coordinator/log/rows.rs",
            "coordinator/log/writer.rs",
            "coordinator/network.rs",
            "coordinator/part.rs",
            "coordinator/propose.rs",
            "coordinator/seats.rs",
        ],
        "the tasks of a coordinator get all of it: they are to get what they use",
    ),
    (
        "nexus-node",
        &["coordinator/command.rs", "coordinator/limits.rs", "coordinator/requests.rs"],
        "a command is checked against limits that are told per command",
    ),
    (
        "nexus-node",
        &["coordinator/state.rs", "coordinator/state/zero.rs"],
        "format 0 of the machine reads and writes its fields",
    ),
    (
        "nexus-node",
        &["critical.rs", "critical/guard.rs"],
        "a guard renews and releases its lock over the handle that made it",
    ),
    (
        "nexus-node",
        &[
            "engine.rs",
            "engine/append.rs",
            "engine/io.rs",
            "engine/keeper.rs",
            "engine/kept.rs",
            "engine/persons.rs",
            "engine/requested.rs",
            "engine/succeed.rs",
            "engine/tasks.rs",
        ],
        "each part adds inputs to the engine, whose answers are in one file",
    ),
    (
        "nexus-node",
        &[
            "engine/kinds.rs",
            "engine/kinds/confirmation.rs",
            "engine/kinds/credential.rs",
            "engine/kinds/document.rs",
            "engine/kinds/erase.rs",
            "engine/kinds/evidence.rs",
            "engine/kinds/profile.rs",
            "engine/kinds/revocation.rs",
            "engine/kinds/seat.rs",
            "engine/kinds/space.rs",
            "engine/kinds/succession.rs",
            "engine/kinds/tasks.rs",
            "engine/kinds/writes.rs",
        ],
        "the list of all kinds is in the file of the types that each kind gets",
    ),
    ("nexus-node", &["events.rs", "events/passing.rs"], "passing events on is a part of the handle that gives them"),
    (
        "nexus-node",
        &[
            "mcp.rs",
            "mcp/answer.rs",
            "mcp/core.rs",
            "mcp/core/arguments.rs",
            "mcp/core/brief.rs",
            "mcp/core/cursor.rs",
            "mcp/graph/jsonl.rs",
            "mcp/graph/server.rs",
            "mcp/graph/shape.rs",
            "mcp/http.rs",
        ],
        "constants of the servers are in the file that puts them together",
    ),
    (
        "nexus-node",
        &["memory/read.rs", "memory/read/proof.rs", "memory/read/resolved.rs"],
        "a record is resolved by further reads of the reader that found it",
    ),
    (
        "nexus-node",
        &[
            "node.rs",
            "node/admit.rs",
            "node/builder.rs",
            "node/compact.rs",
            "node/found.rs",
            "node/join.rs",
            "node/persons.rs",
            "node/projects.rs",
            "node/revoke.rs",
            "node/rooms.rs",
            "node/rooms/door.rs",
            "node/rooms/members.rs",
            "node/rotate.rs",
            "node/start.rs",
            "node/status.rs",
            "node/visits.rs",
        ],
        "each part adds acts to the handle, and the start makes it",
    ),
    (
        "nexus-node",
        &["runtime.rs", "runtime/drive.rs"],
        "the drive draws an incarnation by a function of the room's file",
    ),
    ("nexus-node", &["runtime/session.rs", "runtime/sync.rs"], "the end of a session is told with a type of its file"),
    (
        "nexus-node",
        &["search.rs", "search/best.rs", "search/disk.rs", "search/question.rs", "search/tail.rs"],
        "an index and what is asked of it share types of the room's file",
    ),
    (
        "nexus-node",
        &["search/document.rs", "search/group.rs", "search/project.rs"],
        "a document, its group and its project share types of each other's files",
    ),
    (
        "nexus-node",
        &["store.rs", "store/compact.rs", "store/snapshot.rs"],
        "a snapshot keeps its store open, and a compaction opens the store anew",
    ),
    (
        "nexus-node",
        &["vectors/model.rs", "vectors/models.rs"],
        "a list of models reads one to check it, by bounds of the list's file",
    ),
    (
        "nexus-node",
        &["words.rs", "words/tokens.rs"],
        "words are cut from tokens, and a token ends by the beginning of a word",
    ),
    (
        "simulations",
        &["approvals.rs", "ledger.rs", "tasks.rs"],
        "the ledger counts approvals, which are looked up in it",
    ),
];

type Circle = BTreeSet<String>;

/// By file, all files that it names.
type Named<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn named(arrows: &Arrows) -> Named<'_> {
    let mut named = Named::new();
    for (from, to) in arrows.keys() {
        named.entry(from).or_default().insert(to);
    }
    named
}

/// The circles of a crate: files of which each reaches each other one.
fn circles(arrows: &Arrows) -> Vec<Circle> {
    let named = named(arrows);
    let reached: BTreeMap<&str, BTreeSet<&str>> = named.keys().map(|file| (*file, reached(&named, file))).collect();
    let mut circles: Vec<Circle> = Vec::new();
    for (file, reaches) in &reached {
        let back = |other: &&&str| reached.get(**other).is_some_and(|reaches| reaches.contains(file));
        let circle: Circle = reaches.iter().filter(back).map(|file| (*file).to_owned()).collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

/// All files to which arrows lead from a file.
fn reached<'a>(named: &Named<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(named.get(file).into_iter().flatten().filter(|to| reached.insert(**to)));
    }
    reached
}

/// A way from a file back to itself over as few files as possible.
fn shortest<'a>(named: &Named<'a>, from: &'a str) -> Vec<&'a str> {
    let mut open = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = open.pop_front() {
        for to in named.get(way[way.len() - 1]).into_iter().flatten() {
            let longer: Vec<&str> = way.iter().copied().chain([*to]).collect();
            if *to == from {
                return longer;
            }
            if seen.insert(*to) {
                open.push_back(longer);
            }
        }
    }
    Vec::new()
}

/// A circle and the way out of it: the shortest way around, and what each file of it names.
fn told(name: &str, circle: &Circle, arrows: &Arrows) -> String {
    let named = named(arrows);
    let ways = circle.iter().map(|file| shortest(&named, file));
    let way = ways.filter(|way| !way.is_empty()).min_by_key(Vec::len).unwrap();
    let is_shown = |from: &str, to: &str| match std::env::var(WHOLE) {
        Ok(_) => circle.contains(from) && circle.contains(to),
        Err(_) => way.windows(2).any(|step| step == [from, to]),
    };
    let mut text = format!("{name} has a circle of {} files: {circle:?}\n", circle.len());
    for ((from, to), names) in arrows.iter().filter(|((from, to), _)| is_shown(from, to)) {
        text += &format!("  {from} names {} of {to}\n", Vec::from_iter(names.clone()).join(", "));
    }
    text + &format!(
        "  Move what the lower file needs into a file of its own below both, or hand it over as an argument. {WHOLE}=1\n  \
         shows all arrows.\n"
    )
}

/// The differences between the circles of some crates and a list.
fn differences(crates: &[Crate], list: &[(&str, &[&str], &str)]) -> String {
    let listed: Vec<(&str, Circle)> =
        list.iter().map(|(name, files, _)| (*name, files.iter().map(|file| format!("src/{file}")).collect())).collect();
    let (mut found, mut text) = (Vec::new(), String::new());
    for one in crates {
        let arrows = one.arrows();
        for circle in circles(&arrows) {
            if !listed.contains(&(&one.name, circle.clone())) {
                text += &told(&one.name, &circle, &arrows);
            }
            found.push((one.name.as_str(), circle));
        }
    }
    for circle in listed.iter().filter(|circle| !found.contains(circle)) {
        text += &format!(
            "the list of circles.rs has a circle that is not there: {circle:?}\n  Make it what is left of it, or leave it out.\n"
        );
    }
    text
}

#[test]
fn no_file_names_what_names_it() {
    let text = differences(workspace(), CIRCLES);
    assert!(text.is_empty(), "\n{text}");
}

#[test]
fn a_circle_that_is_not_on_the_list_is_found_and_one_that_is_gone_too() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::A; pub struct C;"),
    ];
    let crates = [made(&files)];
    assert!(differences(&crates, &[]).contains("c.rs names crate::A of a.rs"));
    let open = [made(&files[..3].iter().copied().chain([("c.rs", "pub struct C;")]).collect::<Vec<_>>())];
    assert_eq!(differences(&open, &[]), "");
    assert!(differences(&open, &[("made", &["a.rs"], "")]).contains("is not there"));
}
