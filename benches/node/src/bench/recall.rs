use std::path::Path;
use std::time::Duration;

use nexus_node::api::Problem;
use nexus_node::{NewMemory, Node, RecallQuery};
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, Schema, TEXT, Value};
use tantivy::{Index, IndexReader, TantivyDocument, Term, doc};
use tokio::time::Instant;

use super::rows::{Goal, Row, quantile};
use super::stage::{DEADLINE, directory, start};
use super::vectors::{DIMENSION, random_model};
use super::words::Words;
use nexus_node_cli::ground::Printer;

/// The number of memories written in one call.
const CHUNK: u64 = 1_000;
/// The number of questions to each side.
const QUESTIONS: u64 = 1_000;
/// The number of memories in an answer.
const LIMIT: usize = 10;

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::new("failed", format!("recall: {error}"))
}

/// Measures a node with many memories beside a tantivy index with the same texts. Both get the same
/// questions, in turn.
///
/// With `vectors` the same questions are asked once more, by their meaning, too: a model of random vectors costs what any
/// of its dimension does.
pub(super) async fn run(printer: &Printer, records: u64, vectors: bool) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let words = Words::new();
    let node = start(dir.path(), "recall").await?;
    let bar = printer.progress("filling", Some(records));
    for n in (0..records).step_by(CHUNK as usize) {
        let texts = (n..records.min(n + CHUNK)).map(|n| NewMemory::note(words.text(n)));
        node.brain().remember_all(texts.collect()).await?;
        bar.set_position(n);
    }
    let begin = Instant::now();
    until_indexed(&node, dir.path()).await?;
    let indexed = begin.elapsed().as_secs_f64();
    let raw = Raw::new(&dir.path().join("raw"), (0..records).map(|n| words.text(n)))?;
    bar.finish_and_clear();

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..QUESTIONS {
        let question = words.question(n);
        let begin = Instant::now();
        let found = node.brain().recall_blocking(&RecallQuery::of(question.as_str()).limit(LIMIT))?;
        ours.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        let raw_found = raw.find(&question)?;
        theirs.push(begin.elapsed().as_secs_f64() * 1e3);
        // weak ones alone are cut to a few
        if found.hits.len() < raw_found && !found.is_empty() || found.hits.is_empty() && raw_found > 0 {
            return Err(failed(format!("{question:?}: {} found, {raw_found} expected", found.hits.len())));
        }
    }
    let by_meaning = if vectors { with_vectors(&node, dir.path(), &words, records).await? } else { Vec::new() };
    node.shutdown().await;
    let (p50, floor_p50) = (quantile(&mut ours, 0.5), quantile(&mut theirs, 0.5));
    let (p95, floor_p95) = (quantile(&mut ours, 0.95), quantile(&mut theirs, 0.95));
    let mut rows = vec![
        Row::new("recall", format!("a question to {records} memories, p50"), p50, "ms")
            .floor("ms, tantivy alone", floor_p50),
        Row::new("recall", format!("a question to {records} memories, p95"), p95, "ms")
            .asked(Goal::LessThan(30.0_f64.min(floor_p95 * 1.5)))
            .floor("ms, tantivy alone", floor_p95),
        Row::new("recall", "the index is up with the store after", indexed, "s"),
    ];
    rows.extend(by_meaning);
    Ok(rows)
}

/// The same questions with vectors.
async fn with_vectors(node: &Node, dir: &Path, words: &Words, records: u64) -> Result<Vec<Row>, Problem> {
    let model = random_model(&dir.join("model"), words)?;
    let memory = || async { node.status().await.rss_bytes };
    let (before, begin) = (memory().await, Instant::now());
    model.set(node, &dir.join("recall"), usize::try_from(records).unwrap_or(usize::MAX)).await?;
    let embedded = begin.elapsed().as_secs_f64();
    let after = memory().await;
    let mut took = Vec::new();
    for n in 0..QUESTIONS {
        let question = words.question(n);
        let begin = Instant::now();
        node.brain().recall(RecallQuery::of(question.as_str()).limit(LIMIT)).await?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let of = format!("with {DIMENSION} components for each of {records}");
    let mut rows = vec![
        Row::new("recall", format!("a question {of}, p50"), quantile(&mut took, 0.5), "ms"),
        Row::new("recall", format!("a question {of}, p95"), quantile(&mut took, 0.95), "ms")
            .asked(Goal::LessThan(20.0)),
        Row::new("recall", "all memories have vectors after", embedded, "s"),
    ];
    if let Some((before, after)) = before.zip(after) {
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let megabytes = after.saturating_sub(before) as f64 / 1e6;
        rows.push(Row::new("recall", "memory that vectors and model take", megabytes, "MB"));
    }
    Ok(rows)
}

/// Waits until the node's index on disk is complete, by its files.
async fn until_indexed(node: &Node, dir: &Path) -> Result<(), Problem> {
    let entries: u64 = node.brain().spaces().await?.iter().map(|space| space.entries).sum();
    let meta = dir.join("recall/search/meta.json");
    let reached = async {
        loop {
            let text = std::fs::read_to_string(&meta).unwrap_or_default();
            let payload = text.split("\"payload\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
            let covered = payload.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
            if covered.is_some_and(|covered| covered >= entries) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.map_err(|_| failed("the index does not catch up"))
}

/// Plain tantivy.
pub(super) struct Raw {
    reader: IndexReader,
    text: Field,
}

impl Raw {
    pub(super) fn new(dir: &Path, texts: impl Iterator<Item = String>) -> Result<Self, Problem> {
        std::fs::create_dir(dir).map_err(failed)?;
        let mut schema = Schema::builder();
        let text = schema.add_text_field("text", TEXT | STORED);
        let index = Index::create_in_dir(dir, schema.build()).map_err(failed)?;
        let mut writer = index.writer_with_num_threads(1, 50_000_000).map_err(failed)?;
        for each in texts {
            writer.add_document(doc!(text => each)).map_err(failed)?;
        }
        writer.commit().map_err(failed)?;
        writer.wait_merging_threads().map_err(failed)?;
        Ok(Self { reader: index.reader().map_err(failed)?, text })
    }

    /// The number of best documents; each is read.
    fn find(&self, question: &str) -> Result<usize, Problem> {
        Ok(self.texts(question, LIMIT)?.len())
    }

    /// The texts of the best documents for some words in lower case.
    pub(super) fn texts(&self, question: &str, limit: usize) -> Result<Vec<String>, Problem> {
        let searcher = self.reader.searcher();
        let term = |word: &str| Term::from_field_text(self.text, word);
        let words = question.split(' ').map(|word| {
            let query = TermQuery::new(term(word), IndexRecordOption::WithFreqs);
            (Occur::Should, Box::new(query) as Box<dyn Query>)
        });
        let query = BooleanQuery::new(words.collect());
        let found = searcher.search(&query, &TopDocs::with_limit(limit).order_by_score()).map_err(failed)?;
        let read = |address| {
            let document: TantivyDocument = searcher.doc(address).map_err(failed)?;
            Ok(document.get_first(self.text).and_then(|text| text.as_str()).unwrap_or_default().to_owned())
        };
        found.into_iter().map(|(_, address)| read(address)).collect()
    }
}
