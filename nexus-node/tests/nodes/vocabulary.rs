//! Words that mean the same, and members whose aliases and words try to catch every question.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::rogue::{Line, Rogue};
use crate::world::{Link, World, are_well, has_text, key, memories, until};
use nexus_crdt::{Core, Field, Kind, LogId, SpaceId, Target, Verified, Write, Writes};
use nexus_node::config::{Config, MemberList};
use nexus_node::memory::{Hit, NewWords};
use nexus_node::{Memory, NewMemory, Node, RecallQuery};

const WORLD: World = World(210);
/// The number of the rogue member.
const ROGUE: u8 = 9;

async fn remember(node: &Node, text: &str) {
    node.brain().remember(NewMemory::note(text)).await.unwrap();
}

async fn add(node: &Node, words: &[&str]) {
    node.brain().add_words(NewWords::of(words.iter().copied())).await.unwrap();
}

async fn recall(node: &Node, query: impl Into<RecallQuery>) -> Vec<Hit> {
    node.brain().recall(query).await.unwrap().hits
}

async fn texts(node: &Node, query: impl Into<RecallQuery>) -> Vec<String> {
    recall(node, query).await.into_iter().map(|hit| hit.memory.text).collect()
}

fn ignoring(members: &[&str]) -> Config {
    let mut config = Config::default();
    config.recall_ignores = MemberList::of(members.iter().copied()).unwrap();
    config
}

fn create(core: Core) -> Write {
    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] }
}

/// A member's next entry with these memories.
fn entry(author: u8, after: Option<&Verified>, memories: Vec<Core>) -> Verified {
    let writes = Writes(memories.into_iter().map(create).collect()).encode();
    WORLD.entry(WORLD.log(author), after, Kind::WRITES, writes, author)
}

/// The log of a member with these memories, some in an entry, after its last one.
fn log(author: u8, last: Option<&Verified>, memories: Vec<Core>) -> Vec<Verified> {
    let mut entries: Vec<Verified> = Vec::new();
    for some in memories.chunks(80) {
        entries.push(entry(author, entries.last().or(last), some.to_vec()));
    }
    entries
}

fn group(text: String) -> Core {
    Core { text, kind: "vocabulary".to_owned(), ..Core::default() }
}

/// A member's first entry in the space of members.
fn introduction(n: u8) -> Verified {
    let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(n) };
    WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(n).to_bytes(), n)
}

/// A node, and another member whose program writes what it likes.
struct Stage {
    node: Node,
    line: Line,
    _rogue: Rogue,
    last: Option<Verified>,
}

impl Stage {
    async fn new() -> Self {
        let node = WORLD.start(0, Link::Memory).await;
        let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
        let mut line = rogue.line(node.did()).await;
        line.entries([&*introduction(ROGUE)]).await.unwrap();
        Self { node, line, _rogue: rogue, last: None }
    }

    /// The rogue writes these memories, and the node has them.
    async fn write(&mut self, written: Vec<Core>) {
        let by = key(ROGUE).did();
        let of_rogue = |memories: &[Memory]| memories.iter().filter(|memory| memory.author == by).count();
        let count = of_rogue(&memories(&self.node)) + written.len();
        let entries = log(ROGUE, self.last.as_ref(), written);
        for entry in &entries {
            self.line.entries([&**entry]).await.unwrap();
        }
        self.last = entries.last().cloned();
        until(&self.node, "they came", |memories| of_rogue(memories) == count).await;
    }
}

/// promise: Recall | A mesh's own words that mean the same find memories, and `why` names the word and its author
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_mesh_find_what_the_question_s_own_do_not() {
    let node = WORLD.start(0, Link::Memory).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    are_well(&node, &friend, "before").await;
    remember(&node, "We ship it on Tuesdays, never before a holiday").await;
    remember(&node, "Pull the cable out before you open the case").await;
    remember(&node, "A pull request wants two reviews").await;
    remember(&node, "A rollout of the firmware takes a night").await;
    add(&friend, &["deploy", "ship it", "roll out"]).await;
    has_text(&node, "deploy = ship it = roll out").await;
    add(&node, &["changeset", "pull request"]).await;

    let why = |hits: &[Hit], part: &str| {
        let hit = hits.iter().find(|hit| hit.memory.text.contains(part));
        hit.map_or_else(|| format!("no {part} in {hits:?}"), |hit| hit.why.clone())
    };
    // beside words of its own, too
    let told = "It has “tuesdays”, “holiday”, “deploy” (“ship it” by member-number-1).";
    assert_eq!(why(&recall(&node, "tuesdays holiday deploy").await, "ship it"), told);
    let hits = recall(&node, "how do we deploy by hand?").await;
    assert_eq!(why(&hits, "ship it"), "It has “deploy” (“ship it” by member-number-1).");
    let hits = recall(&node, "is the changeset merged with no reader?").await;
    assert_eq!(why(&hits, "two reviews"), "It has “changeset” (“pull request” by member-number-0).");
    assert!(hits.iter().all(|hit| !hit.memory.text.contains("cable")), "a word of two is not half of it: {hits:?}");
    // and the other way round, as words in a row
    remember(&node, "Each changeset is signed").await;
    let hits = recall(&node, "who signs off a pull request of strangers?").await;
    let by = "“pull” (“changeset” by member-number-0), “request” (“changeset” by member-number-0)";
    assert!(why(&hits, "Each changeset").contains(by), "{hits:?}");
    assert!(!texts(&node, "who can pull a strange request?").await.iter().any(|text| text.contains("changeset")));

    // the groups themselves are no answers, unless they are asked for
    for query in [RecallQuery::of("ship it"), RecallQuery::of("deploy roll out")] {
        assert!(recall(&node, query).await.iter().all(|hit| hit.memory.kind != "vocabulary"));
    }
    assert_eq!(texts(&node, RecallQuery::of("ship").kind("vocabulary")).await, ["deploy = ship it = roll out"]);
    // of another space they are for questions of that space
    node.brain().create_space("ops".parse().unwrap()).await.unwrap();
    node.brain().remember(NewMemory::note("the tarpaulin is in the shed").space("ops")).await.unwrap();
    node.brain().add_words(NewWords::of(["canvas", "tarpaulin"]).space("ops")).await.unwrap();
    assert_eq!(texts(&node, RecallQuery::of("canvas").space("ops")).await, ["the tarpaulin is in the shed"]);
    assert!(texts(&node, RecallQuery::of("canvas").space("default")).await.is_empty());

    // the setting takes them away, by name or DID, at once
    let asked = "how do we deploy by hand?";
    let ships = async || texts(&node, asked).await.iter().any(|text| text.contains("ship it"));
    assert!(ships().await);
    for member in ["member-number-1", &friend.did().to_string()] {
        node.configure(&ignoring(&[member, "nobody-here"]));
        assert!(!ships().await, "{member}");
        node.configure(&ignoring(&[]));
        assert!(ships().await);
    }
    // and so does to forget them
    let groups = node.brain().vocabulary(None).await.unwrap().groups;
    assert_eq!(
        groups.iter().map(|group| group.words[0].as_str()).collect::<Vec<_>>(),
        ["canvas", "changeset", "deploy"]
    );
    node.brain().forget(groups[2].id).await.unwrap();
    assert!(!ships().await);
}

/// promise: Bad input | Words that mean the same in a circle: one step, and an end
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_words_is_one_step() {
    let node = WORLD.start(0, Link::Memory).await;
    let words = ["alder", "beech", "cedar", "maple", "spruce"];
    for word in words {
        remember(&node, &format!("{word} wood is in the store")).await;
    }
    // no memory has the one that is asked for
    for (n, word) in words.iter().enumerate() {
        let next = words[(n + 1) % words.len()];
        add(&node, &[word, next]).await;
    }
    add(&node, &["timber", "alder"]).await;
    let found = texts(&node, "timber plank").await;
    assert_eq!(found, ["alder wood is in the store"], "and none of alder's own group");
    // a memory that has the word by itself, and words of one group with itself
    add(&node, &["timber", "timber plank", "alder"]).await;
    assert!(texts(&node, "timber").await.contains(&"alder wood is in the store".to_owned()));
}

/// promise: Recall | A member whose aliases try to catch every question has eight, which `why` names, and a setting drops
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_that_catch_every_question_are_few_named_and_left_out_by_a_setting() {
    let question = "On which port is the staging database?";
    let all = "where which what how when port staging database deploy login";
    let mut aliases: Vec<String> = (0..500).map(|n| format!("{all} {n}")).collect();
    aliases.insert(100, "zanzibar".to_owned());
    aliases.insert(0, "y".repeat(4_000));
    let bait = Core { text: "Buy from my cousin".into(), kind: "note".into(), aliases, ..Core::default() };
    let mut stage = Stage::new().await;
    stage.write(vec![bait.clone()]).await;
    let node = stage.node.clone();
    remember(&node, "The staging database is on port 5433 of db-stg-2.").await;
    remember(&node, "The login of the wiki is in the vault.").await;

    let hits = recall(&node, question).await;
    assert!(hits[0].memory.text.contains("5433"), "{hits:?}");
    let caught = hits.iter().find(|hit| hit.memory.text == bait.text).expect("it has the words");
    assert_eq!(caught.why, "Its aliases have “port”, “staging”, “database”.");
    assert_eq!(caught.memory.aliases.len(), 8);
    assert!(caught.memory.aliases.iter().all(|alias| alias.len() <= 64));
    assert!(texts(&node, "zanzibar").await.is_empty(), "what is beyond the bound finds nothing");

    let by = key(ROGUE).did().to_string();
    for member in ["member-number-9", &by] {
        node.configure(&ignoring(&[member]));
        let found = texts(&node, question).await;
        assert!(!found.contains(&bait.text) && found[0].contains("5433"), "{found:?}");
        // its own words count as those of anybody
        assert_eq!(texts(&node, "cousin").await, [bait.text.as_str()]);
    }
    // many of them leave no room for others in the index, and yet for those that count
    let some = bait.aliases[1..9].to_vec();
    let baits = (0..400).map(|n| Core { text: format!("bait number {n}"), aliases: some.clone(), ..bait.clone() });
    stage.write(baits.collect()).await;
    let question = "where does staging have its database, which port, what login, how do we deploy?";
    assert!(texts(&node, RecallQuery::of(question).limit(1)).await[0].contains("5433"));
    node.configure(&ignoring(&[]));
    assert!(
        texts(&node, RecallQuery::of(question).limit(1)).await[0].contains("bait"),
        "else they were in nobody's way"
    );
}

/// promise: Recall | A member that writes words without end has a bounded part in each question
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_without_end_have_a_bounded_part() {
    let groups = (0..5_000).map(|n| group(format!("deploy = lunch{} = banquet{n}", n % 300)));
    let mut stage = Stage::new().await;
    stage.write(groups.collect()).await;
    let node = stage.node.clone();
    remember(&node, "We ship it on Tuesdays").await;
    let lunches = (0..300).map(|n| NewMemory::note(format!("lunch{n} is served")));
    node.brain().remember_all(lunches.collect()).await.unwrap();
    add(&node, &["deploy", "ship it"]).await;
    let hits = recall(&node, RecallQuery::of("deploy served").limit(1_000)).await;
    let named = hits.iter().filter(|hit| hit.why.contains("by member-number-9")).count();
    assert!((1..=4).contains(&named), "{named}");
    let own = hits.iter().find(|hit| hit.memory.text.contains("ship it")).expect("nobody's words crowd it out");
    assert!(own.why.contains("“ship it” by member-number-0"), "{}", own.why);
    // an author has 500 in the list, and a program of ours writes no more
    let vocabulary = node.brain().vocabulary(None).await.unwrap();
    assert_eq!((vocabulary.groups.len(), vocabulary.more), (501, false));
    node.configure(&ignoring(&["member-number-9"]));
    assert_eq!(texts(&node, "deploy").await, ["We ship it on Tuesdays"]);
}

/// promise: Recall | Nodes with the same memories count the same words, in whatever order these came
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_arrival_decides_nothing() {
    let groups: Vec<Core> = (0..40).map(|n| group(format!("deploy = lunch{n}"))).collect();
    let logs: Vec<Vec<Verified>> = (0..4).map(|n| log(ROGUE + n, None, groups.clone())).collect();
    let mut found = Vec::new();
    for order in [[0, 1, 2, 3], [3, 1, 2, 0]] {
        let node = WORLD.start(0, Link::Memory).await;
        let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
        let mut line = rogue.line(node.did()).await;
        for (count, n) in (1..).zip(order) {
            line.entries([&*introduction(ROGUE + n)]).await.unwrap();
            line.entries(logs[usize::from(n)].iter().map(|entry| &**entry)).await.unwrap();
            until(&node, "they came", |memories| memories.len() >= 40 * count).await;
        }
        for n in 0..40 {
            remember(&node, &format!("lunch{n} is served")).await;
        }
        let hits = recall(&node, RecallQuery::of("deploy served").limit(100)).await;
        let named = hits.into_iter().filter(|hit| hit.why.contains(" by "));
        let mut whys: Vec<(String, String)> = named.map(|hit| (hit.memory.text, hit.why)).collect();
        whys.sort();
        assert!((2..=8).contains(&whys.len()), "{whys:?}");
        found.push(whys);
        node.shutdown().await;
    }
    assert_eq!(found[0], found[1]);
}
