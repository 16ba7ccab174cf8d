use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_identity::Timestamp;
use tantivy::fastfield::Column;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EnableScoring, FuzzyTermQuery, Occur, Query, TermQuery,
};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::{
    DocId, DocSet, Index, IndexReader, IndexWriter, ReloadPolicy, Score, Searcher, SegmentReader, TERMINATED,
    TantivyDocument, Term,
};

use super::best::Best;
use super::group::{self, GroupTerm, Groups, Step, Wanted};
use super::tail::{Forms, Touched};
use super::{
    Document, Filter, Frequencies, Match, OfProject, PROJECT, PROJECT_TAG, Scrubbed, SearchError, Sought, Span,
    Statistics, VOCABULARY, edits,
};
use crate::ledger::rows::{Eno, Place, SpaceNo};
use crate::store::{overwrite_file, quietly};

/// The version of the schema and of the words. An index of another version is rebuilt.
const VERSION: u32 = 8;
/// Memory for documents on their way to disk, in bytes: the minimum of tantivy.
const WRITER_BYTES: usize = 15_000_000;

/// The most places where groups with a key are looked for in a segment: one for each space and author that has some.
const GROUP_SEEKS_MAX: usize = 512;
/// The most terms of one author that are passed over there, of groups that are gone.
const GROUPS_GONE_MAX: usize = 1_024;

/// The index on disk.
pub(crate) struct DiskIndex {
    index: Index,
    reader: IndexReader,
    /// The searched state, replaced after each write.
    segments: Mutex<Arc<Segments>>,
    fields: Fields,
    /// Created for the first write and dropped after a pause without writes: it holds threads and memory.
    writer: Mutex<Option<IndexWriter>>,
    covered: AtomicU64,
    store: [u8; 8],
}

/// The documents with each word.
#[expect(clippy::disallowed_types, reason = "its order is never seen: nobody goes through it")]
type Counts = std::collections::HashMap<Box<str>, u64>;

/// One state of the index. The columns of each segment are opened once for all searches.
struct Segments {
    searcher: Searcher,
    columns: Vec<Columns>,
    /// The number of words of all documents.
    words: u64,
    /// The documents with each word, of those that were asked for: each of them is looked up in every segment.
    counts: Mutex<Counts>,
}

/// The stored values of each passage, without its words.
struct Columns {
    place: Column<u64>,
    space: Column<u64>,
    stamp: Column<u64>,
    valid_from: Column<u64>,
    valid_to: Column<u64>,
    /// The number of passages of its memory.
    parts: Column<u64>,
}

impl Columns {
    fn of(segment: &SegmentReader) -> Result<Self, SearchError> {
        let column = |name| segment.fast_fields().u64(name).map_err(SearchError::new);
        Ok(Self {
            place: column("place")?,
            space: column("space")?,
            stamp: column("stamp")?,
            valid_from: column("valid_from")?,
            valid_to: column("valid_to")?,
            parts: column("parts")?,
        })
    }

    fn place(&self, document: DocId) -> Option<Place> {
        self.place.first(document).map(Place::from_number)
    }

    fn valid(&self, document: DocId) -> Span {
        let moment = |column: &Column<u64>| column.first(document).map(Timestamp::from_ms);
        Span { from: moment(&self.valid_from), to: moment(&self.valid_to) }
    }

    fn admits(&self, document: DocId, filter: &Filter) -> bool {
        let in_space = |space| SpaceNo::try_from(space).is_ok_and(|space| filter.spaces.contains(&space));
        self.space.first(document).is_some_and(in_space)
            && filter.since.is_none_or(|since| self.stamp.first(document).is_some_and(|stamp| stamp >= since.as_ms()))
            && filter.valid_at.is_none_or(|at| self.valid(document).has(at))
    }
}

impl Segments {
    fn of(searcher: Searcher, words: Field) -> Result<Self, SearchError> {
        let columns = searcher.segment_readers().iter().map(Columns::of).collect::<Result<_, _>>()?;
        let tokens = |segment: &SegmentReader| segment.inverted_index(words).map(|index| index.total_num_tokens());
        let words = searcher.segment_readers().iter().map(tokens).sum::<Result<u64, _>>().map_err(SearchError::new)?;
        Ok(Self { searcher, columns, words, counts: Mutex::default() })
    }

    /// The documents with each of some words, of those that any has.
    fn count(&self, words: &BTreeSet<&str>, field: Field) -> Result<Frequencies, SearchError> {
        /// The words whose counts are kept, of up to 64 bytes each.
        const COUNTS_MAX: usize = 16_384;
        let (mut frequencies, mut missing) = (Frequencies::new(), Vec::new());
        {
            let counts = self.counts();
            for word in words {
                match counts.get(*word) {
                    Some(0) => {}
                    Some(count) => drop(frequencies.insert((*word).to_owned(), *count)),
                    None => missing.push(*word),
                }
            }
        }
        let mut found = Vec::with_capacity(missing.len());
        for word in missing {
            let count = self.searcher.doc_freq(&Term::from_field_text(field, word)).map_err(SearchError::new)?;
            found.push((Box::from(word), count));
            if count > 0 {
                frequencies.insert(word.to_owned(), count);
            }
        }
        let mut counts = self.counts();
        if counts.len() + found.len() > COUNTS_MAX {
            counts.clear();
        }
        counts.extend(found.into_iter().take(COUNTS_MAX));
        Ok(frequencies)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each(&self) -> impl Iterator<Item = (&SegmentReader, &Columns)> {
        self.searcher.segment_readers().iter().zip(&self.columns)
    }
}

#[derive(Clone, Copy)]
struct Fields {
    record: Field,
    place: Field,
    words: Field,
    space: Field,
    tag: Field,
    kind: Field,
    author: Field,
    stamp: Field,
    valid_from: Field,
    valid_to: Field,
    parts: Field,
}

/// The files in a directory, open to be overwritten, with their sizes.
fn files_in(dir: &Path) -> std::io::Result<Vec<(PathBuf, File, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        // removed since, or a directory
        let Ok(file) = opened else { continue };
        let bytes = file.metadata()?.len();
        files.push((path, file, bytes));
    }
    Ok(files)
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing =
        TextFieldIndexing::default().set_tokenizer("whitespace").set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        record: schema.add_bytes_field("record", INDEXED),
        place: schema.add_u64_field("place", FAST),
        words: schema.add_text_field("words", TextOptions::default().set_indexing_options(indexing)),
        space: schema.add_u64_field("space", FAST),
        tag: schema.add_text_field("tag", STRING),
        kind: schema.add_text_field("kind", STRING),
        author: schema.add_bytes_field("author", INDEXED),
        stamp: schema.add_u64_field("stamp", FAST),
        valid_from: schema.add_u64_field("valid_from", FAST),
        valid_to: schema.add_u64_field("valid_to", FAST),
        parts: schema.add_u64_field("parts", FAST),
    };
    (schema.build(), fields)
}

impl DiskIndex {
    /// Whether this build has one.
    pub(crate) const BUILT: bool = true;

    /// Opens the index in a directory. A missing or damaged index, or one of another version or store,
    /// is replaced by an empty one.
    pub(crate) fn open(dir: &Path, store: [u8; 8]) -> Result<Self, SearchError> {
        match guarded(|| Self::try_open(dir, store)) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the search index is damaged: it is made anew"),
        }
        Self::anew(dir, store)
    }

    /// Makes an empty index in a directory, whatever was there.
    pub(super) fn anew(dir: &Path, store: [u8; 8]) -> Result<Self, SearchError> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(SearchError::new(error)),
            _ => {}
        }
        make_private(dir).map_err(SearchError::new)?;
        let (schema, fields) = schema();
        let index = Index::create_in_dir(dir, schema).map_err(SearchError::new)?;
        Self::over(index, fields, store, 0)
    }

    fn try_open(dir: &Path, store: [u8; 8]) -> Result<Option<Self>, SearchError> {
        if !dir.join("meta.json").exists() {
            return Ok(None);
        }
        let (schema, fields) = schema();
        let index = Index::open_in_dir(dir).map_err(SearchError::new)?;
        if index.schema() != schema {
            return Ok(None);
        }
        let payload = index.load_metas().map_err(SearchError::new)?.payload.unwrap_or_default();
        let Some(covered) = read_payload(&payload, store) else {
            return Ok(None);
        };
        check(&index)?;
        Self::over(index, fields, store, covered).map(Some)
    }

    fn over(index: Index, fields: Fields, store: [u8; 8], covered: Eno) -> Result<Self, SearchError> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(SearchError::new)?;
        let segments = Mutex::new(Arc::new(Segments::of(reader.searcher(), fields.words)?));
        Ok(Self { index, reader, segments, fields, writer: Mutex::new(None), covered: AtomicU64::new(covered), store })
    }

    /// The last entry that the index includes.
    pub(crate) fn covered(&self) -> Eno {
        self.covered.load(Ordering::Acquire)
    }

    /// Writes changes durably. The index then includes all entries up to `covers`.
    pub(crate) fn update(&self, changed: Forms, covers: Eno) -> Result<(), SearchError> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .num_merge_threads(1)
                .memory_budget_per_thread(WRITER_BYTES)
                .build();
            *slot = Some(self.index.writer_with_options(options).map_err(SearchError::new)?);
        }
        let Some(writer) = slot.as_mut() else { return Ok(()) };
        for (record, document) in changed {
            writer.delete_term(Term::from_field_bytes(self.fields.record, &record.to_bytes()));
            for row in document.iter().flat_map(|document| self.rows(document)) {
                writer.add_document(row).map_err(SearchError::new)?;
            }
        }
        let mut commit = writer.prepare_commit().map_err(SearchError::new)?;
        commit.set_payload(&payload(self.store, covers));
        commit.commit().map_err(SearchError::new)?;
        self.reload()?;
        self.covered.store(covers, Ordering::Release);
        Ok(())
    }

    fn segments(&self) -> Arc<Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops the writer with its threads and memory.
    pub(crate) fn rest(&self) {
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // a merge in progress is finished or left for the next time
            let _ = guarded(|| {
                drop(writer);
                Ok(())
            });
        }
    }

    /// Writes each segment anew that has words of deleted documents, and overwrites the former files once no search has them.
    pub(crate) fn scrub(&self, dir: &Path) -> Result<Scrubbed, SearchError> {
        /// How often files are looked for that searches still have, and the time between.
        const LOOKS: u32 = 100;
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = slot.take() {
            writer.wait_merging_threads().map_err(SearchError::new)?;
        }
        // opened before, as a removed file has no name
        let former = files_in(dir).map_err(SearchError::new)?;
        let before = former.iter().map(|(.., bytes)| bytes).sum();
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .build();
        let mut writer: IndexWriter = self.index.writer_with_options(options).map_err(SearchError::new)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let segments = self.index.searchable_segment_metas().map_err(SearchError::new)?;
        let mut leaving = Vec::new();
        for segment in segments.iter().filter(|segment| segment.num_deleted_docs() > 0) {
            writer.merge(&[segment.id()]).wait().map_err(SearchError::new)?;
            leaving.push(segment.id().uuid_string());
        }
        drop(segments);
        self.reload()?;
        let is_leaving = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            leaving.iter().any(|segment| name.starts_with(segment.as_str()))
        };
        let mut is_clean = false;
        for look in 0..LOOKS {
            if look > 0 {
                std::thread::sleep(LOOK_EVERY);
            }
            writer.garbage_collect_files().wait().map_err(SearchError::new)?;
            is_clean = former.iter().all(|(path, ..)| !is_leaving(path) || !path.exists());
            if is_clean {
                break;
            }
        }
        writer.wait_merging_threads().map_err(SearchError::new)?;
        for (path, file, bytes) in former.iter().filter(|(path, ..)| !path.exists()) {
            if let Err(error) = overwrite_file(file, *bytes) {
                tracing::warn!(file = %path.display(), %error, "a former file of the search index was not overwritten");
            }
        }
        let after = files_in(dir).map_err(SearchError::new)?.iter().map(|(.., bytes)| bytes).sum();
        Ok(Scrubbed { before, after, is_clean })
    }

    /// Has searches read the last state.
    fn reload(&self) -> Result<(), SearchError> {
        self.reader.reload().map_err(SearchError::new)?;
        let segments = Arc::new(Segments::of(self.reader.searcher(), self.fields.words)?);
        *self.segments.lock().unwrap_or_else(PoisonError::into_inner) = segments;
        Ok(())
    }

    /// Whether a file is not as it was written.
    pub(super) fn is_damaged(&self) -> bool {
        guarded(|| check(&self.index)).is_err()
    }

    /// A row for each passage of a memory.
    fn rows<'a>(&'a self, document: &'a Document) -> impl Iterator<Item = TantivyDocument> + 'a {
        document.passages.iter().map(|passage| self.row(document, &passage.words))
    }

    fn row(&self, document: &Document, said: &str) -> TantivyDocument {
        let Fields { record, place, words, space, tag, kind, author, stamp, valid_from, valid_to, parts } = self.fields;
        let mut row = TantivyDocument::new();
        row.add_bytes(record, &document.record.to_bytes());
        row.add_u64(place, document.place.to_number());
        row.add_text(words, said);
        row.add_u64(space, u64::from(document.space));
        row.add_u64(parts, document.passages.len() as u64);
        for one in &document.tags {
            row.add_text(tag, one);
        }
        row.add_text(kind, &document.kind);
        row.add_bytes(author, document.author.as_bytes());
        row.add_u64(stamp, document.stamp.as_ms());
        for (field, at) in [(valid_from, document.valid.from), (valid_to, document.valid.to)] {
            if let Some(at) = at {
                row.add_u64(field, at.as_ms());
            }
        }
        row
    }

    /// The documents with each of some words, of those that any has, and the counts of all.
    pub(super) fn statistics(&self, words: &BTreeSet<&str>) -> Result<(Frequencies, Statistics), SearchError> {
        let segments = self.segments();
        let statistics = Statistics { documents: segments.searcher.num_docs(), words: segments.words };
        Ok((segments.count(words, self.fields.words)?, statistics))
    }

    /// Some words that are spelled nearly as another one, or begin with it.
    pub(super) fn close(&self, word: &str) -> Result<BTreeSet<String>, SearchError> {
        /// Words looked at in a segment: a bound on the work for one that many others begin with.
        const LOOKED_AT_MAX: usize = 256;
        let Some(first) = word.chars().next() else { return Ok(BTreeSet::new()) };
        let term = Term::from_field_text(self.fields.words, word);
        let is_single = word.chars().nth(1).is_none();
        let near =
            FuzzyTermQuery::new(term, edits(word.chars().count()), true).automaton().map_err(SearchError::new)?;
        let (segments, mut close) = (self.segments(), BTreeSet::new());
        for segment in segments.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.words).map_err(SearchError::new)?;
            let mut terms = index.terms().search(&near).into_stream().map_err(SearchError::new)?;
            let mut looked_at = 0;
            while !is_single && looked_at < LOOKED_AT_MAX && terms.advance() {
                looked_at += 1;
                close.extend(
                    std::str::from_utf8(terms.key()).ok().filter(|near| near.starts_with(first)).map(str::to_owned),
                );
            }
            let mut terms = index.terms().range().ge(word.as_bytes()).into_stream().map_err(SearchError::new)?;
            while looked_at < LOOKED_AT_MAX && terms.advance() && terms.key().starts_with(word.as_bytes()) {
                looked_at += 1;
                close.extend(std::str::from_utf8(terms.key()).ok().map(str::to_owned));
            }
        }
        Ok(close)
    }

    /// Whether there may be a group.
    pub(super) fn has_groups(&self) -> Result<bool, SearchError> {
        let is_group = Term::from_field_text(self.fields.kind, VOCABULARY);
        Ok(self.segments().searcher.doc_freq(&is_group).map_err(SearchError::new)? > 0)
    }

    /// The groups with each of some keys, the lowest of each author, but for those in `left_out`, which changed since.
    ///
    /// Their terms are in order, so a search goes from author to author. It reads no more of one that wrote many.
    pub(super) fn groups(
        &self,
        keys: &BTreeSet<String>,
        wanted: &Wanted<'_>,
        left_out: &Touched,
    ) -> Result<Groups, SearchError> {
        let (segments, mut found) = (self.segments(), Groups::new());
        let are_groups = [VOCABULARY, PROJECT].map(|kind| Term::from_field_text(self.fields.kind, kind));
        for (segment, columns) in segments.each() {
            let kinds = segment.inverted_index(self.fields.kind).map_err(SearchError::new)?;
            let counts = are_groups.iter().map(|kind| kinds.doc_freq(kind));
            if counts.sum::<std::io::Result<u32>>().map_err(SearchError::new)? == 0 {
                continue;
            }
            for key in keys {
                let here = self.groups_in(segment, columns, key, wanted, left_out)?;
                if !here.is_empty() {
                    found.entry(key.clone()).or_default().extend(here);
                }
            }
        }
        Ok(found)
    }

    fn groups_in(
        &self,
        segment: &SegmentReader,
        columns: &Columns,
        key: &str,
        wanted: &Wanted<'_>,
        left_out: &Touched,
    ) -> Result<Vec<(GroupTerm, Place)>, SearchError> {
        let index = segment.inverted_index(self.fields.words).map_err(SearchError::new)?;
        let (prefix, mut found) = (group::prefix(key), Vec::new());
        let mut from = prefix.clone();
        for _ in 0..GROUP_SEEKS_MAX {
            let mut terms = index.terms().range().ge(from.as_bytes()).into_stream().map_err(SearchError::new)?;
            let (mut last, mut taken, mut gone) = (None, 0, 0);
            from = loop {
                if !terms.advance() {
                    return Ok(found);
                }
                let rest = std::str::from_utf8(terms.key()).ok().and_then(|term| term.strip_prefix(&prefix));
                let Some(at) = rest.and_then(GroupTerm::parse) else { return Ok(found) };
                // an author's lowest may be in any of its spaces
                let whose = Some((at.space, at.author.clone()));
                if last != whose {
                    (last, taken, gone) = (whose, 0, 0);
                }
                match wanted.step(&at, if gone < GROUPS_GONE_MAX { taken } else { usize::MAX }) {
                    // the sign after `:`
                    Step::After(begins) => break format!("{prefix}{begins};"),
                    Step::From(begins) => break format!("{prefix}{begins}"),
                    Step::Take => {}
                }
                let postings = index.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic);
                let mut postings = postings.map_err(SearchError::new)?;
                let mut document = postings.doc();
                while document != TERMINATED && segment.is_deleted(document) {
                    document = postings.advance();
                }
                let place = (document != TERMINATED).then(|| columns.place(document)).flatten();
                let place = place.filter(|place| !left_out.contains(place));
                match place {
                    Some(place) => {
                        found.push((at, place));
                        taken += 1;
                    }
                    None => gone += 1,
                }
            };
        }
        Ok(found)
    }

    /// The best memories for some words, best first, but for those in `left_out`, which changed since.
    ///
    /// Spaces and times are no part of the query: they are looked up only for documents that are good
    /// enough so far. A query of words alone skips whole blocks of documents that cannot be among the
    /// best (Block-Max WAND, Ding and Suel 2011). A query with conditions would have to score every
    /// document.
    pub(crate) fn find(
        &self,
        words: &[Sought],
        filter: &Filter,
        left_out: &Touched,
        limit: usize,
    ) -> Result<Vec<Match>, SearchError> {
        let segments = self.segments();
        let query = self.query(words, filter);
        let weight = query.weight(EnableScoring::enabled_from_searcher(&segments.searcher));
        let weight = weight.map_err(SearchError::new)?;
        // one list for all segments: the threshold of the first ones saves work in the others
        let mut best = Best::new(limit);
        for (segment, columns) in segments.each() {
            let searched = weight.for_each_pruning(best.threshold(), segment, &mut |document, score| {
                if !segment.is_deleted(document)
                    && columns.admits(document, filter)
                    && let Some(place) = columns.place(document).filter(|place| !left_out.contains(place))
                {
                    let stamp = Timestamp::from_ms(columns.stamp.first(document).unwrap_or_default());
                    let is_alone = columns.parts.first(document).is_none_or(|parts| parts == 1);
                    best.offer(Match { place, score, stamp }, is_alone);
                }
                best.threshold()
            });
            searched.map_err(SearchError::new)?;
        }
        Ok(best.into_sorted())
    }

    /// Whether there is a memory that a filter admits, but for those in `left_out`, which changed since.
    pub(super) fn any(&self, filter: &Filter, left_out: &Touched) -> Result<bool, SearchError> {
        let mut any = false;
        self.admitted(filter, left_out, |_, _| {
            any = true;
            ControlFlow::Break(())
        })?;
        Ok(any)
    }

    /// The memories that a filter admits, with their stamps, but for those in `left_out`, which changed since.
    #[cfg(feature = "mcp")]
    pub(super) fn stamped(&self, filter: &Filter, left_out: &Touched) -> Result<Vec<(Timestamp, Place)>, SearchError> {
        let mut stamped = Vec::new();
        self.admitted(filter, left_out, |stamp, place| {
            stamped.push((stamp, place));
            ControlFlow::Continue(())
        })?;
        Ok(stamped)
    }

    fn admitted(
        &self,
        filter: &Filter,
        left_out: &Touched,
        mut each: impl FnMut(Timestamp, Place) -> ControlFlow<()>,
    ) -> Result<(), SearchError> {
        let (segments, conditions) = (self.segments(), self.conditions(filter));
        let query = match conditions.is_empty() {
            true => Box::new(AllQuery) as Box<dyn Query>,
            false => Box::new(BooleanQuery::new(conditions.into_iter().map(|query| (Occur::Must, query)).collect())),
        };
        let weight =
            query.weight(EnableScoring::disabled_from_searcher(&segments.searcher)).map_err(SearchError::new)?;
        for (segment, columns) in segments.each() {
            let mut found = weight.scorer(segment, 1.0).map_err(SearchError::new)?;
            let mut document = found.doc();
            while document != TERMINATED {
                if !segment.is_deleted(document)
                    && columns.admits(document, filter)
                    && let Some(place) = columns.place(document).filter(|place| !left_out.contains(place))
                {
                    let stamp = Timestamp::from_ms(columns.stamp.first(document).unwrap_or_default());
                    if each(stamp, place).is_break() {
                        return Ok(());
                    }
                }
                document = found.advance();
            }
        }
        Ok(())
    }

    fn query(&self, words: &[Sought], filter: &Filter) -> BooleanQuery {
        let field = self.fields.words;
        let one = |term: Term, option| Box::new(TermQuery::new(term, option)) as Box<dyn Query>;
        let spoken = words.iter().map(|word| {
            let term = one(Term::from_field_text(field, &word.term), IndexRecordOption::WithFreqs);
            (Occur::Should, if word.boost < 1.0 { Box::new(BoostQuery::new(term, word.boost)) as _ } else { term })
        });
        let spoken = BooleanQuery::new(spoken.collect());
        let conditions = self.conditions(filter);
        if conditions.is_empty() {
            return spoken;
        }
        // a filter adds nothing to the score
        let unscored = |query| Box::new(ConstScoreQuery::new(query, Score::default())) as Box<dyn Query>;
        let conditions = conditions.into_iter().map(|query| (Occur::Must, unscored(query)));
        BooleanQuery::new(conditions.chain([(Occur::Must, Box::new(spoken) as Box<dyn Query>)]).collect())
    }
}

impl DiskIndex {
    /// The conditions of a filter that are a part of the query: all must hold.
    fn conditions(&self, filter: &Filter) -> Vec<Box<dyn Query>> {
        let Fields { tag, kind, author, .. } = self.fields;
        let one = |term: Term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)) as Box<dyn Query>;
        let all = |clauses| Box::new(BooleanQuery::new(clauses)) as Box<dyn Query>;
        let any = |terms: Vec<Term>| all(terms.into_iter().map(|term| (Occur::Should, one(term))).collect());
        let mut conditions: Vec<_> = filter.tags.iter().map(|wanted| one(Term::from_field_text(tag, wanted))).collect();
        if !filter.kinds.is_empty() {
            conditions.push(any(filter.kinds.iter().map(|wanted| Term::from_field_text(kind, wanted)).collect()));
        }
        if let Some(by) = &filter.by {
            conditions.push(one(Term::from_field_bytes(author, by.as_bytes())));
        }
        if let Some(OfProject { tag: wanted, mine }) = &filter.project {
            let by_me = any(mine.iter().map(|me| Term::from_field_bytes(author, me.as_bytes())).collect());
            let of_projects = one(Term::from_field_text(tag, PROJECT_TAG));
            let personal = all(vec![(Occur::Must, by_me), (Occur::MustNot, of_projects)]);
            let of_project = one(Term::from_field_text(tag, wanted));
            conditions.push(all(vec![(Occur::Should, of_project), (Occur::Should, personal)]));
        }
        conditions
    }
}

/// Runs code of the index, which may panic on a damaged file. After an error the index is not used again.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, SearchError>) -> Result<T, SearchError> {
    quietly(run).unwrap_or_else(|panic| Err(broken(panic)))
}

/// Compares the files of an index with their checksums.
fn check(index: &Index) -> Result<(), SearchError> {
    let damaged = index.validate_checksum().map_err(SearchError::new)?;
    match damaged.iter().min() {
        Some(file) => Err(broken(format!("{} is not as it was written", file.display()))),
        None => Ok(()),
    }
}

fn broken(why: String) -> SearchError {
    SearchError::new(std::io::Error::other(why))
}

fn payload(store: [u8; 8], covers: Eno) -> String {
    format!("{VERSION} {} {covers}", data_encoding::HEXLOWER.encode(&store))
}

/// The last entry that an index includes, if the index is of this version and store.
fn read_payload(payload: &str, store: [u8; 8]) -> Option<Eno> {
    let covers = payload.strip_prefix(&format!("{VERSION} {} ", data_encoding::HEXLOWER.encode(&store)))?;
    covers.parse().ok()
}

/// Creates a directory for its owner alone: the index holds words of memories.
fn make_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
