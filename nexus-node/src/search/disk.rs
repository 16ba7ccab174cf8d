use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::Dot;
use nexus_identity::Timestamp;
use tantivy::fastfield::Column;
use tantivy::index::SegmentId;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::{BooleanQuery, ConstScoreQuery, EnableScoring, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::{
    DocId, Index, IndexReader, IndexWriter, ReloadPolicy, Score, Searcher, SegmentReader, TantivyDocument, Term,
};

use super::best::Best;
use super::prints::Prints;
use super::{Document, Filter, Match, SearchError, Statistics};
use crate::ledger::rows::{Eno, Place, SpaceNo};

/// The version of the schema and of the words. An index of another version is rebuilt.
const VERSION: u32 = 4;
/// Memory for documents on their way to disk, in bytes: the minimum of tantivy.
const WRITER_BYTES: usize = 15_000_000;

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
    /// Fingerprints by segment, read at the first question.
    prints: Mutex<BTreeMap<SegmentId, Arc<Prints>>>,
}

/// One state of the index. The columns of each segment are opened once for all searches.
struct Segments {
    searcher: Searcher,
    columns: Vec<Columns>,
}

/// The stored values of each document, without its words.
struct Columns {
    place: Column<u64>,
    space: Column<u64>,
    stamp: Column<u64>,
}

impl Columns {
    fn of(segment: &SegmentReader) -> Result<Self, SearchError> {
        let column = |name| segment.fast_fields().u64(name).map_err(SearchError::new);
        Ok(Self { place: column("place")?, space: column("space")?, stamp: column("stamp")? })
    }

    fn place(&self, document: DocId) -> Option<Place> {
        self.place.first(document).map(Place::from_number)
    }

    fn admits(&self, document: DocId, filter: &Filter) -> bool {
        let in_space = |space| SpaceNo::try_from(space).is_ok_and(|space| filter.spaces.contains(&space));
        self.space.first(document).is_some_and(in_space)
            && filter.since.is_none_or(|since| self.stamp.first(document).is_some_and(|stamp| stamp >= since.as_ms()))
    }
}

impl Segments {
    fn of(searcher: Searcher) -> Result<Self, SearchError> {
        let columns = searcher.segment_readers().iter().map(Columns::of).collect::<Result<_, _>>()?;
        Ok(Self { searcher, columns })
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
    print: Field,
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
        print: schema.add_u64_field("print", FAST),
    };
    (schema.build(), fields)
}

impl DiskIndex {
    /// Whether this build has one.
    pub(crate) const BUILT: bool = true;

    /// Opens the index in a directory. A missing or damaged index, or one of another version or store,
    /// is replaced by an empty one.
    pub(crate) fn open(dir: &Path, store: [u8; 8]) -> Result<Self, SearchError> {
        match Self::try_open(dir, store) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the search index is made anew"),
        }
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
        Self::over(index, fields, store, covered).map(Some)
    }

    fn over(index: Index, fields: Fields, store: [u8; 8], covered: Eno) -> Result<Self, SearchError> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(SearchError::new)?;
        let segments = Mutex::new(Arc::new(Segments::of(reader.searcher())?));
        Ok(Self {
            index,
            reader,
            segments,
            fields,
            writer: Mutex::new(None),
            covered: AtomicU64::new(covered),
            store,
            prints: Mutex::default(),
        })
    }

    /// The last entry that the index includes.
    pub(crate) fn covered(&self) -> Eno {
        self.covered.load(Ordering::Acquire)
    }

    /// Writes changes durably. The index then includes all entries up to `covers`.
    pub(crate) fn update(&self, changed: Vec<(Dot, Option<Document>)>, covers: Eno) -> Result<(), SearchError> {
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
            if let Some(document) = document {
                writer.add_document(self.row(&document)).map_err(SearchError::new)?;
            }
        }
        let mut commit = writer.prepare_commit().map_err(SearchError::new)?;
        commit.set_payload(&payload(self.store, covers));
        commit.commit().map_err(SearchError::new)?;
        self.reader.reload().map_err(SearchError::new)?;
        let segments = Arc::new(Segments::of(self.reader.searcher())?);
        self.prune_prints(&segments);
        *self.segments.lock().unwrap_or_else(PoisonError::into_inner) = segments;
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
            drop(writer);
        }
    }

    fn row(&self, document: &Document) -> TantivyDocument {
        let Fields { record, place, words, space, tag, kind, author, stamp, print } = self.fields;
        let mut row = TantivyDocument::new();
        row.add_bytes(record, &document.record.to_bytes());
        row.add_u64(place, document.place.to_number());
        row.add_text(words, &document.words);
        row.add_u64(space, u64::from(document.space));
        for one in &document.tags {
            row.add_text(tag, one);
        }
        row.add_text(kind, &document.kind);
        row.add_bytes(author, document.author.as_bytes());
        row.add_u64(stamp, document.stamp.as_ms());
        row.add_u64(print, document.fingerprint);
        row
    }

    /// The counts of some words.
    pub(crate) fn statistics(&self, words: &[String]) -> Result<Statistics, SearchError> {
        let segments = self.segments();
        let searcher = &segments.searcher;
        let mut all = 0;
        for segment in searcher.segment_readers() {
            all += segment.inverted_index(self.fields.words).map_err(SearchError::new)?.total_num_tokens();
        }
        let frequency = |word: &String| searcher.doc_freq(&Term::from_field_text(self.fields.words, word));
        let frequencies: Result<_, _> = words.iter().map(frequency).collect();
        Ok(Statistics {
            documents: searcher.num_docs(),
            words: all,
            frequencies: frequencies.map_err(SearchError::new)?,
        })
    }

    /// The best memories for some words, best first, but for those in `left_out`, which changed since.
    ///
    /// Spaces and times are no part of the query: they are looked up only for documents that are good
    /// enough so far. A query of words alone skips whole blocks of documents that cannot be among the
    /// best (Block-Max WAND, Ding and Suel 2011). A query with conditions would have to score every
    /// document.
    pub(crate) fn find(
        &self,
        words: &[String],
        filter: &Filter,
        left_out: &BTreeSet<Place>,
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
                    best.offer(Match { place, score, stamp });
                }
                best.threshold()
            });
            searched.map_err(SearchError::new)?;
        }
        Ok(best.into_sorted())
    }

    fn query(&self, words: &[String], filter: &Filter) -> BooleanQuery {
        let Fields { words: field, tag, kind, author, .. } = self.fields;
        let one = |term: Term, option| Box::new(TermQuery::new(term, option)) as Box<dyn Query>;
        let any = |terms: Vec<Term>| -> Box<dyn Query> {
            let clauses = terms.into_iter().map(|term| (Occur::Should, one(term, IndexRecordOption::Basic))).collect();
            Box::new(BooleanQuery::new(clauses))
        };
        let spoken = words.iter().map(|word| Term::from_field_text(field, word));
        let spoken = spoken.map(|term| (Occur::Should, one(term, IndexRecordOption::WithFreqs))).collect();
        let spoken = BooleanQuery::new(spoken);
        let mut conditions: Vec<Box<dyn Query>> = Vec::new();
        for wanted in &filter.tags {
            conditions.push(one(Term::from_field_text(tag, wanted), IndexRecordOption::Basic));
        }
        if !filter.kinds.is_empty() {
            conditions.push(any(filter.kinds.iter().map(|wanted| Term::from_field_text(kind, wanted)).collect()));
        }
        if let Some(by) = &filter.by {
            conditions.push(one(Term::from_field_bytes(author, by.as_bytes()), IndexRecordOption::Basic));
        }
        if conditions.is_empty() {
            return spoken;
        }
        // a filter adds nothing to the score
        let unscored = |query| Box::new(ConstScoreQuery::new(query, Score::default())) as Box<dyn Query>;
        let conditions = conditions.into_iter().map(|query| (Occur::Must, unscored(query)));
        BooleanQuery::new(conditions.chain([(Occur::Must, Box::new(spoken) as Box<dyn Query>)]).collect())
    }

    /// A few memories of a space whose texts are nearly the same as the fingerprint's.
    pub(crate) fn similar(&self, print: u64, space: SpaceNo) -> Result<Vec<Place>, SearchError> {
        const ENOUGH: usize = 8;
        let segments = self.segments();
        let mut same = Vec::new();
        for (segment, columns) in segments.each() {
            let prints = self.prints_of(segment)?;
            let here = prints.similar(print, space).filter(|document| !segment.is_deleted(*document));
            same.extend(here.filter_map(|document| columns.place(document)).take(ENOUGH - same.len()));
            if same.len() >= ENOUGH {
                break;
            }
        }
        Ok(same)
    }

    /// The fingerprints of a segment with their spaces, read once.
    fn prints_of(&self, segment: &SegmentReader) -> Result<Arc<Prints>, SearchError> {
        let mut known = self.prints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prints) = known.get(&segment.segment_id()) {
            return Ok(prints.clone());
        }
        let columns = segment.fast_fields();
        let (prints, spaces) = (columns.u64("print"), columns.u64("space"));
        let (prints, spaces) = (prints.map_err(SearchError::new)?, spaces.map_err(SearchError::new)?);
        let row = |doc| {
            // no document is in a space that there cannot be
            let space = spaces.first(doc).and_then(|space| SpaceNo::try_from(space).ok());
            space.map_or((0, 0), |space| (prints.first(doc).unwrap_or_default(), space))
        };
        let prints = Arc::new(Prints::of((0..segment.max_doc()).map(row)));
        known.insert(segment.segment_id(), prints.clone());
        Ok(prints)
    }

    /// Drops the fingerprints of segments that are gone.
    fn prune_prints(&self, segments: &Segments) {
        let alive: BTreeSet<_> = segments.each().map(|(segment, _)| segment.segment_id()).collect();
        self.prints.lock().unwrap_or_else(PoisonError::into_inner).retain(|segment, _| alive.contains(segment));
    }
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
