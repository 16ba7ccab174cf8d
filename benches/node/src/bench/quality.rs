//! The quality of recall on a set of memories and questions: see `benches/recall/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::error::InputError;
use nexus_node::memory::{ValidAt, Was};
use nexus_node::{MemoryId, NewMemory, Node, NodeError, RecallQuery};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::recall::Raw;
use super::rows::{Goal, Row};
use super::stage::{directory, start};
use super::vectors::BenchEmbedder;
use nexus_node_cli::ground::Printer;

/// The set of a checkout.
pub(super) const SET: &str = "benches/recall";
/// The memories of an answer.
const LIMIT: usize = 5;

/// A memory of the set.
#[derive(Debug, Deserialize)]
struct SetMemory {
    id: String,
    at: String,
    author: String,
    kind: String,
    project: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    text: String,
}

#[derive(Debug, Deserialize)]
struct SetAliases {
    id: String,
    aliases: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct SetPair {
    a: String,
    b: String,
    is: String,
}

/// A question of the set.
#[derive(Debug, Deserialize)]
struct SetQuestion {
    slice: String,
    question: String,
    answers: BTreeSet<String>,
    #[serde(default)]
    stale: BTreeSet<String>,
    #[serde(default)]
    also: Vec<String>,
}

/// The answer to a question.
#[derive(Default)]
struct Given {
    /// The memories of the answer by their ids in the set, best first; copies beside the one that stands for them.
    ids: Vec<Vec<String>>,
    /// Whether it says that nothing speaks of the question.
    told_none: bool,
    /// The score of the first one.
    score: f64,
    /// The characters of the texts.
    chars: usize,
    /// The pairs of its memories that seem to contradict each other, by their ids in the set.
    contradictions: BTreeSet<(String, String)>,
}

/// The questions of a slice, and how many were answered.
#[derive(Default)]
struct Tally {
    asked: f64,
    first: f64,
    in_five: f64,
    reciprocal: f64,
    told_none: f64,
    stale_first: f64,
    chars: f64,
}

/// Asks all questions of a set, with and without aliases and further phrasings.
pub(super) async fn run(printer: &Printer, set: &Path, embedder: Option<&BenchEmbedder>) -> Result<Vec<Row>, Problem> {
    let memories: Vec<SetMemory> =
        read(set, "memories.jsonl")?.ok_or_else(|| no_set(set, "memories.jsonl is missing"))?;
    let aliases: Vec<SetAliases> = read(set, "aliases.jsonl")?.unwrap_or_default();
    let aliases: BTreeMap<String, Vec<String>> = aliases.into_iter().map(|of| (of.id, of.aliases)).collect();
    let pairs: Vec<SetPair> = read(set, "pairs.jsonl")?.unwrap_or_default();
    let dir = directory()?;
    let plain = Asked::fill(dir.path(), "plain", &memories, &BTreeMap::new(), &BTreeMap::new()).await?;
    let named = Asked::fill(dir.path(), "named", &memories, &aliases, &BTreeMap::new()).await?;
    let ends = ends(&pairs, &memories);
    let dated = Asked::fill(dir.path(), "dated", &memories, &aliases, &ends).await?;
    let mut contradictions = BTreeSet::new();
    // nodes of their own: the figures without vectors are of this run, too
    let meant = match embedder {
        None => None,
        Some(embedder) => {
            let meant = Asked::fill(dir.path(), "meant", &memories, &aliases, &BTreeMap::new()).await?;
            let bare = Asked::fill(dir.path(), "bare", &memories, &BTreeMap::new(), &BTreeMap::new()).await?;
            embedder.set(&meant.node, &dir.path().join("meant"), memories.len()).await?;
            embedder.set(&bare.node, &dir.path().join("bare"), memories.len()).await?;
            Some((bare, meant))
        }
    };
    let raw = Raw::new(&dir.path().join("raw"), memories.iter().map(|memory| memory.text.clone()))?;
    let mut rows = Vec::new();
    for half in ["tuned", "reported"] {
        let questions: Vec<SetQuestion> = read(set, &format!("{half}.jsonl"))?.unwrap_or_default();
        let bar = printer.progress("asking", Some(questions.len() as u64));
        let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
        for question in &questions {
            bar.inc(1);
            let slice = question.slice.as_str();
            let mut note = |way, given: &Given| tallies.entry((slice, way)).or_default().note(question, given);
            note("own words alone", &plain.ask(question, false).await?);
            note("three phrasings", &plain.ask(question, true).await?);
            note("aliases", &named.ask(question, false).await?);
            let both = named.ask(question, true).await?;
            note("aliases and phrasings", &both);
            contradictions.extend(both.contradictions);
            // whether it asks for what held once
            let past = question.answers.iter().all(|id| ends.contains_key(id));
            if slice == "time" && past {
                note("aliases, superseded, asked at any time", &dated.ask_at(question, ValidAt::Ever).await?);
            } else if slice == "time" {
                note("aliases, superseded, asked now", &dated.ask_at(question, ValidAt::Now).await?);
            }
            if let Some((bare, meant)) = &meant {
                note("own words and vectors", &bare.ask(question, false).await?);
                note("aliases, phrasings and vectors", &meant.ask(question, true).await?);
            }
            note("tantivy alone", &by_tantivy(&raw, question, &memories)?);
            note("a search for the text", &by_text(question, &memories));
        }
        bar.finish_and_clear();
        rows.extend(tallies.iter().flat_map(|((slice, way), tally)| tally.rows(half, slice, way)));
    }
    rows.extend(named.duplicates(&pairs, &memories).await?);
    rows.extend(contradicting(&contradictions, &pairs));
    dated.node.shutdown().await;
    if let Some((bare, meant)) = &meant {
        bare.node.shutdown().await;
        meant.node.shutdown().await;
    }
    plain.node.shutdown().await;
    named.node.shutdown().await;
    Ok(rows)
}

/// The times from which memories no longer hold, by what replaces them first.
fn ends<'a>(pairs: &[SetPair], memories: &'a [SetMemory]) -> BTreeMap<String, &'a str> {
    let mut ends: BTreeMap<String, &str> = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| pair.is == "replaced") {
        let Some(by) = memories.iter().find(|memory| memory.id == pair.b) else { continue };
        let end = ends.entry(pair.a.clone()).or_insert(&by.at);
        *end = (*end).min(&by.at);
    }
    ends
}

/// The pairs that were listed as contradictions, and the share of those that are ones.
fn contradicting(listed: &BTreeSet<(String, String)>, pairs: &[SetPair]) -> Vec<Row> {
    // of three values of one thing each pair contradicts
    let mut group: BTreeMap<&str, &str> = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| pair.is == "replaced") {
        let one = group.get(&*pair.a).copied().unwrap_or(&pair.a);
        let other = group.get(&*pair.b).copied().unwrap_or(&pair.b);
        for of in group.values_mut().filter(|of| **of == other) {
            *of = one;
        }
        group.extend([(&*pair.a, one), (&*pair.b, one)]);
    }
    let of = |id: &String| group.get(id.as_str());
    let right = listed.iter().filter(|(a, b)| of(a).is_some() && of(a) == of(b)).count();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = right as f64 / listed.len().max(1) as f64;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let listed = listed.len() as f64;
    vec![
        Row::new("quality", "pairs of hits listed as contradictions", listed, ""),
        Row::new("quality", "listed contradictions where one replaces the other", share, "").asked(Goal::AtLeast(0.8)),
    ]
}

fn no_set(set: &Path, what: &str) -> Problem {
    Problem::new("invalid", format!("{} is no set of questions: {what}", set.display()))
        .hint("run this in a checkout, or name a directory with --set; benches/recall/README.md tells the form")
}

/// The lines of a file of the set; `None` if it is not there.
fn read<T: DeserializeOwned>(set: &Path, name: &str) -> Result<Option<Vec<T>>, Problem> {
    let text = match std::fs::read_to_string(set.join(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(no_set(set, &format!("{name}: {error}"))),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(number, line)| {
        serde_json::from_str(line).map_err(|error| no_set(set, &format!("{name}, line {}: {error}", number + 1)))
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

/// A node with the memories of a set.
struct Asked {
    node: Node,
    ids: BTreeMap<MemoryId, String>,
}

impl Asked {
    async fn fill(
        dir: &Path,
        name: &str,
        memories: &[SetMemory],
        aliases: &BTreeMap<String, Vec<String>>,
        ends: &BTreeMap<String, &str>,
    ) -> Result<Self, Problem> {
        const AT_ONCE: usize = 100;
        let node = start(dir, name).await?;
        let mut ids = BTreeMap::new();
        for some in memories.chunks(AT_ONCE) {
            let new = some.iter().map(|memory| {
                let moment = |text: &str| {
                    wire::parse_timestamp(text).map_err(|error| no_set(Path::new(SET), &error.to_string()))
                };
                let at = moment(&memory.at)?.as_ms();
                let mut new = NewMemory::note(memory.text.as_str()).kind(memory.kind.as_str());
                new.tags.clone_from(&memory.tags);
                new.tags.extend(memory.project.as_ref().map(|project| format!("project:{project}")));
                new.aliases = aliases.get(&memory.id).cloned().unwrap_or_default();
                new.valid_to = ends.get(&memory.id).map(|end| moment(end)).transpose()?;
                Ok(new.was(Was::new(memory.id.as_str(), memory.author.as_str(), at)))
            });
            let written = node.brain().remember_all(new.collect::<Result<_, Problem>>()?).await?;
            ids.extend(written.into_iter().map(|written| written.id).zip(some.iter().map(|memory| memory.id.clone())));
        }
        Ok(Self { node, ids })
    }

    async fn ask(&self, question: &SetQuestion, also: bool) -> Result<Given, Problem> {
        let mut query = RecallQuery::of(question.question.as_str()).limit(LIMIT);
        if also {
            query.or.clone_from(&question.also);
        }
        self.given(query).await
    }

    async fn ask_at(&self, question: &SetQuestion, at: ValidAt) -> Result<Given, Problem> {
        self.given(RecallQuery::of(question.question.as_str()).limit(LIMIT).valid_at(at)).await
    }

    async fn given(&self, query: RecallQuery) -> Result<Given, Problem> {
        let recalled = match self.node.brain().recall(query).await {
            // a question without words has no answer, as for a person who asks it
            Err(NodeError::Invalid(InputError::NoWords)) => return Ok(Given::default()),
            recalled => recalled?,
        };
        let name = |id: &MemoryId| self.ids.get(id).cloned().unwrap_or_default();
        let ids = recalled.hits.iter().map(|hit| [hit.memory.id].iter().chain(&hit.same).map(name).collect());
        let contradictions = recalled.hits.iter().flat_map(|hit| {
            let pair = |other: &MemoryId| {
                let (one, other) = (name(&hit.memory.id), name(other));
                if one < other { (one, other) } else { (other, one) }
            };
            hit.contradicts.iter().map(pair)
        });
        Ok(Given {
            contradictions: contradictions.collect(),
            ids: ids.collect(),
            told_none: recalled.is_empty(),
            score: recalled.hits.first().map_or(0.0, |hit| hit.score),
            chars: recalled.hits.iter().map(|hit| hit.memory.text.chars().count()).sum(),
        })
    }

    /// The pairs that say the same, and whether writing the second one names the first.
    async fn duplicates(&self, pairs: &[SetPair], memories: &[SetMemory]) -> Result<Vec<Row>, Problem> {
        let text = |id: &str| memories.iter().find(|memory| memory.id == id).map(|memory| memory.text.clone());
        let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for pair in pairs.iter().filter(|pair| pair.is != "replaced") {
            let (Some(first), Some(second)) = (text(&pair.a), text(&pair.b)) else { continue };
            // a space of their own for each pair: others of the set say the same, too
            let name = format!("pair-{}-{}", pair.a, pair.b);
            self.node.brain().create_space(name.parse().map_err(|_| no_set(Path::new(SET), "a pair's ids"))?).await?;
            let brain = self.node.brain();
            brain.remember(NewMemory::note(first).space(name.as_str())).await?;
            let noted = brain.remember(NewMemory::note(second).space(name)).await?;
            let (all, found) = counts.entry(pair.is.as_str()).or_default();
            (*all, *found) = (*all + 1.0, *found + f64::from(u8::from(noted.duplicate_of.is_some())));
        }
        let row = |(is, (all, found)): (&str, (f64, f64))| {
            Row::new("quality", format!("pairs that a person calls `{is}`, noted as duplicates of {all}"), found, "")
        };
        Ok(counts.into_iter().map(row).collect())
    }
}

/// The answer of an index that is told nothing but the texts.
fn by_tantivy(raw: &Raw, question: &SetQuestion, memories: &[SetMemory]) -> Result<Given, Problem> {
    let words = question.question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    let found = raw.texts(&words.join(" "), LIMIT)?;
    let id = |text: &String| memories.iter().find(|memory| memory.text == *text).map(|memory| vec![memory.id.clone()]);
    let chars = found.iter().map(|text| text.chars().count()).sum();
    Ok(Given {
        told_none: found.is_empty(),
        ids: found.iter().filter_map(id).collect(),
        score: 0.0,
        chars,
        contradictions: BTreeSet::new(),
    })
}

/// The answer of a search for the question as it stands, as the reference memory server makes it.
fn by_text(question: &SetQuestion, memories: &[SetMemory]) -> Given {
    let wanted = question.question.to_lowercase();
    let found: Vec<&SetMemory> =
        memories.iter().filter(|memory| memory.text.to_lowercase().contains(&wanted)).take(LIMIT).collect();
    Given {
        told_none: found.is_empty(),
        chars: found.iter().map(|memory| memory.text.chars().count()).sum(),
        ids: found.into_iter().map(|memory| vec![memory.id.clone()]).collect(),
        score: 0.0,
        contradictions: BTreeSet::new(),
    }
}

impl Tally {
    fn note(&mut self, question: &SetQuestion, given: &Given) {
        tracing::debug!(
            slice = question.slice,
            score = given.score,
            told_none = given.told_none,
            right = given.ids.first().is_some_and(|ids| ids.iter().any(|id| question.answers.contains(id))),
            question = question.question,
            first = given.ids.first().and_then(|ids| ids.first()).map_or("", String::as_str),
            "asked"
        );
        let is = |ids: &Vec<String>, wanted: &BTreeSet<String>| ids.iter().any(|id| wanted.contains(id));
        let place = given.ids.iter().position(|ids| is(ids, &question.answers));
        let one = |what: bool| f64::from(u8::from(what));
        self.asked += 1.0;
        self.first += one(place == Some(0));
        self.in_five += one(place.is_some());
        #[expect(clippy::cast_precision_loss, reason = "a rank")]
        let reciprocal = place.map_or(0.0, |place| 1.0 / (place as f64 + 1.0));
        self.reciprocal += reciprocal;
        self.told_none += one(given.told_none);
        self.stale_first += one(given.ids.first().is_some_and(|ids| is(ids, &question.stale)));
        #[expect(clippy::cast_precision_loss, reason = "a length")]
        let chars = given.chars as f64;
        self.chars += chars;
    }

    fn rows(&self, half: &str, slice: &str, way: &str) -> Vec<Row> {
        let row = |figure: &str, value: f64, unit| {
            Row::new("quality", format!("{half}, {slice}, {way}: {figure}"), value, unit)
        };
        let share = |sum: f64| sum / self.asked.max(1.0);
        if slice == "none" {
            return vec![row("told that nothing speaks of it", share(self.told_none), "").asked(Goal::AtLeast(0.85))];
        }
        let mut rows = vec![
            row("hit@1", share(self.first), ""),
            row("hit@5", share(self.in_five), ""),
            row("MRR", share(self.reciprocal), ""),
            row("answers lost to the floor", share(self.told_none), ""),
            row("characters of an answer's texts", share(self.chars), ""),
        ];
        if slice == "time" {
            let stale = row("a superseded memory first", share(self.stale_first), "");
            rows.push(if way.ends_with("asked now") { stale.asked(Goal::LessThan(0.02)) } else { stale });
        }
        rows
    }
}
