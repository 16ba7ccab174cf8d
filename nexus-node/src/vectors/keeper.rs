use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_crdt::Dot;
use zeroize::Zeroizing;

use super::codes::Codes;
use super::embedder::{EmbedFault, Embedded, Embedder, PROBE, ask};
use super::file::{Key, ModelIdentity, VectorFile, file_in};
use super::http::HttpEmbedder;
use super::index::{Index, content_of, key_of};
use super::model::ModelEmbedder;
use super::{EmbedderState, Ready, Vectors, Wanted};
use crate::NodeError;
use crate::config::EmbedderPlace;
use crate::datadir::DataDir;
use crate::follow::{Source, touched_after};
use crate::ledger::rows::Eno;
use crate::store::{StoreError, overwrite_and_remove};
use crate::world::World;

/// The variable with the key of the embedder.
const KEY_VARIABLE: &str = "NEXUS_EMBEDDER_KEY";
/// The most texts of one question to the embedder, and their bytes together.
const BATCH_MAX: usize = 32;
const BATCH_BYTES_MAX: usize = 128 << 10;
/// How long texts of memories wait for their vectors.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long changes gather before they are followed.
const GATHER: Duration = Duration::from_millis(200);
/// The time after which expired memories are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The shortest and the longest wait after a failure; each doubles the last one.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The wait after a change of the model, which each further one doubles: all is embedded anew then.
const CHANGE_WAIT: Duration = Duration::from_secs(60);
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// The most contents that the embedder does not take and that are not tried again.
const SKIPPED_MAX: usize = 100_000;

/// Keeps the vectors up with the memories, until the node stops.
pub(crate) async fn keep(vectors: Arc<Vectors>, source: Source) {
    let Some(directory) = vectors.directory.clone() else { return };
    let mut wanted = vectors.wanted.subscribe();
    let source = Arc::new(source);
    loop {
        let now = wanted.borrow_and_update().clone();
        vectors.set_ready(None);
        *vectors.index_mut() = None;
        tell(&vectors, &now, None);
        if now.place == EmbedderPlace::None {
            // nobody would take the vectors of forgotten memories out of it
            let (path, file) = (DataDir::vectors_path(&directory), file_in(&directory));
            let remove = move || overwrite_and_remove(&file).and_then(|_| std::fs::remove_dir_all(path));
            let removed = vectors.world.blocking(remove).await;
            if let Ok(Err(error)) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "the vectors cannot be removed");
            }
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let keeper = Keeper::new(vectors.clone(), source.clone(), directory.clone(), now);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = keeper.run() => return,
        }
    }
}

/// Says what is known of an embedder that was just set.
fn tell(vectors: &Vectors, wanted: &Wanted, model: Option<&str>) {
    let mut told = vectors.told();
    let off = wanted.place == EmbedderPlace::None;
    told.state = if off { EmbedderState::Off } else { EmbedderState::Starting };
    told.reason = None;
    told.embedder = (!off).then(|| wanted.place.to_string());
    told.model = model.map(str::to_owned).filter(|_| !off);
}

/// Why a step was not done.
#[derive(Debug)]
enum Trouble {
    Embedder(EmbedFault),
    /// The files of vectors or of a model, or the store.
    Here(String),
    /// The node stops.
    Stopped,
}

impl From<EmbedFault> for Trouble {
    fn from(fault: EmbedFault) -> Self {
        Self::Embedder(fault)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Here(format!("the file of vectors: {error}"))
    }
}

impl From<NodeError> for Trouble {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Stopping(_) => Self::Stopped,
            error => Self::Here(error.to_string()),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        NodeError::from(error).into()
    }
}

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to do.
    More,
    /// The embedder is left alone for so long.
    Wait(Duration),
    /// There is nothing to do until something changes.
    Rest(EmbedderState),
}

/// A memory without a vector.
#[derive(Clone, Debug)]
struct Bare {
    record: Dot,
    key: Key,
    content: String,
}

/// Some memories without vectors, and the last entry up to which there are no others.
#[derive(Debug)]
struct Gathered {
    bare: Vec<Bare>,
    upto: Eno,
    /// Whether there may be more behind that.
    more: bool,
}

struct Keeper {
    vectors: Arc<Vectors>,
    source: Arc<Source>,
    directory: PathBuf,
    wanted: Wanted,
    embedder: Option<Arc<dyn Embedder>>,
    /// The number of the index that this keeper writes to. Work of a keeper before it must not reach another one.
    generation: u64,
    /// The last entry whose changes were followed.
    seen: Eno,
    /// The last entry up to which all memories have vectors: the queue of the others is the rest of the log.
    embedded: Eno,
    /// Whether vectors that no memory has were removed.
    swept: bool,
    /// Whether the embedder was seen to be the one of the index.
    known: bool,
    /// The contents that the embedder does not take.
    skipped: BTreeSet<Key>,
    /// The texts of the next question: one after some were refused.
    batch: usize,
    failures: u32,
    /// The time before which the embedder is left alone.
    not_before: Duration,
    changes: u32,
}

impl Keeper {
    fn new(vectors: Arc<Vectors>, source: Arc<Source>, directory: PathBuf, wanted: Wanted) -> Self {
        Self {
            vectors,
            source,
            directory,
            wanted,
            embedder: None,
            generation: 0,
            seen: 0,
            embedded: 0,
            swept: false,
            known: false,
            skipped: BTreeSet::new(),
            batch: BATCH_MAX,
            failures: 0,
            not_before: Duration::ZERO,
            changes: 0,
        }
    }

    /// Returns when the node stops.
    async fn run(mut self) {
        let mut source = Source::clone(&self.source);
        loop {
            source.mark_seen();
            let wait = match self.step().await {
                Ok(Step::More) => continue,
                Ok(Step::Wait(wait)) => wait,
                Ok(Step::Rest(state)) => {
                    self.failures = 0;
                    self.say(state, self.left_out(state));
                    LOOK_EVERY
                }
                Err(Trouble::Stopped) => return,
                Err(Trouble::Embedder(EmbedFault::Changed)) => self.begin_anew().await,
                Err(Trouble::Embedder(fault)) => self.fail(fault.to_string()),
                Err(Trouble::Here(why)) => {
                    // the file and the model are read again
                    self.leave_index();
                    self.embedder = None;
                    self.fail(why)
                }
            };
            tokio::select! {
                goes_on = source.moved() => {
                    if !goes_on {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                }
                () = self.vectors.trouble.notified() => self.known = false,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Follows what changed, and embeds some memories if the embedder is not left alone.
    async fn step(&mut self) -> Result<Step, Trouble> {
        let waits = self.not_before.saturating_sub(self.vectors.world.now());
        let embedder = match &self.embedder {
            Some(embedder) => embedder.clone(),
            None if waits > Duration::ZERO => return Ok(Step::Wait(waits)),
            None => self.open().await?,
        };
        self.follow().await?;
        if waits > Duration::ZERO {
            return Ok(Step::Wait(waits));
        }
        // after questions without an answer it is asked again, too
        if !self.known || self.vectors.ready().is_none() {
            self.meet(embedder).await?;
            return Ok(Step::More);
        }
        if self.vectors.index().as_ref().is_some_and(Index::is_full) {
            return Ok(Step::Rest(EmbedderState::Full));
        }
        let gathered = self.gather().await?;
        if gathered.bare.is_empty() {
            self.embedded = gathered.upto;
            return Ok(if gathered.more { Step::More } else { Step::Rest(EmbedderState::Ok) });
        }
        self.say(EmbedderState::Embedding, None);
        self.embed(&*embedder, gathered).await?;
        Ok(Step::More)
    }

    /// Opens the embedder, and the file if its vectors are of this embedder.
    async fn open(&mut self) -> Result<Arc<dyn Embedder>, Trouble> {
        let (wanted, directory, world) = (self.wanted.clone(), self.directory.clone(), self.vectors.world.clone());
        let beside = self.file();
        let opened = self.blocking(move || {
            // nobody would take the vectors of forgotten memories out of the file
            open(&wanted, &directory, &world).inspect_err(|_| drop(overwrite_and_remove(&beside)))
        });
        let opened = opened.await??;
        let name = opened.name().to_owned();
        tell(&self.vectors, &self.wanted, Some(opened.model()));
        let (path, fixed) = (self.file(), opened.fixed());
        let found = self.blocking(move || {
            let found = VectorFile::open(&path)?;
            let fits = |identity: &ModelIdentity| {
                identity.name == name && fixed.is_none_or(|fixed| fixed == identity.dimension)
            };
            match found {
                Some((identity, file)) if fits(&identity) => Ok(Some((identity, file))),
                other => {
                    drop(other);
                    overwrite_and_remove(&path).map(|_| None)
                }
            }
        });
        if let Some((identity, file)) = found.await?? {
            self.take_index(identity, file);
        }
        self.embedder = Some(opened.clone());
        Ok(opened)
    }

    /// Sees whether the embedder answers and is the one of the index. Without an index one is made for it.
    async fn meet(&mut self, embedder: Arc<dyn Embedder>) -> Result<(), Trouble> {
        let known = self.identity();
        let met = self.ask(&*embedder, Vec::new()).await??;
        if known.is_none() {
            let (path, identity) = (self.file(), met.identity.clone());
            let file = self.blocking(move || {
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true);
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.create(path.parent().unwrap_or(&path))?;
                VectorFile::create(&path, &identity)
            });
            let file = file.await??;
            self.take_index(met.identity.clone(), file);
        }
        self.known = true;
        self.vectors.set_ready(Some(Arc::new(Ready { embedder, identity: met.identity })));
        Ok(())
    }

    fn file(&self) -> PathBuf {
        file_in(&self.directory)
    }

    fn identity(&self) -> Option<ModelIdentity> {
        self.vectors.index().as_ref().map(|index| index.identity().clone())
    }

    fn take_index(&mut self, identity: ModelIdentity, file: VectorFile) {
        self.generation = self.vectors.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.vectors.followed.send_replace(0);
        (self.seen, self.embedded, self.swept) = (0, 0, false);
        *self.vectors.index_mut() = Some(Index::new(self.generation, identity, file));
    }

    fn leave_index(&mut self) {
        self.vectors.set_ready(None);
        *self.vectors.index_mut() = None;
        (self.seen, self.embedded, self.swept, self.known) = (0, 0, false, false);
    }

    /// Takes out what was forgotten or expired, and links what is known by its content. This needs no embedder.
    async fn follow(&mut self) -> Result<(), Trouble> {
        if self.vectors.index().is_none() {
            return Ok(());
        }
        let source = self.source.clone();
        let last = self.blocking(move || source.vantage().last_eno()).await??;
        loop {
            let (vectors, source, generation, seen) =
                (self.vectors.clone(), self.source.clone(), self.generation, self.seen);
            match self.blocking(move || follow(&vectors, &source, generation, seen)).await?? {
                Some(upto) => self.seen = upto,
                None => break,
            }
        }
        let (vectors, generation, swept) = (self.vectors.clone(), self.generation, self.swept);
        let clean = move || {
            let now = vectors.world.wall();
            vectors.change(generation, |index| {
                index.expire(now)?;
                if !swept {
                    index.sweep()?;
                }
                index.sync()
            })
        };
        self.blocking(clean).await??;
        self.swept = true;
        self.vectors.followed.send_replace(last);
        Ok(())
    }

    /// Some memories without vectors, in the order of their entries.
    async fn gather(&mut self) -> Result<Gathered, Trouble> {
        let (vectors, source, generation) = (self.vectors.clone(), self.source.clone(), self.generation);
        let (after, skipped, most) = (self.embedded, std::mem::take(&mut self.skipped), self.batch);
        let gathered = self.blocking(move || {
            let gathered = gather(&vectors, &source, generation, after, &skipped, most);
            (gathered, skipped)
        });
        let (gathered, skipped) = gathered.await?;
        self.skipped = skipped;
        gathered
    }

    /// Asks for vectors. Meanwhile changes are followed: what is forgotten does not wait for a slow embedder.
    async fn ask(
        &mut self,
        embedder: &dyn Embedder,
        texts: Vec<String>,
    ) -> Result<Result<Embedded, EmbedFault>, Trouble> {
        let identity = self.identity();
        let mut asking = pin!(ask(embedder, texts, identity.as_ref(), PATIENCE));
        let mut source = Source::clone(&self.source);
        source.mark_seen();
        loop {
            tokio::select! {
                answer = &mut asking => return Ok(answer),
                goes_on = source.moved() => if !goes_on { return Err(Trouble::Stopped) },
            }
            self.follow().await?;
        }
    }

    /// Embeds some memories.
    async fn embed(&mut self, embedder: &dyn Embedder, gathered: Gathered) -> Result<(), Trouble> {
        let Gathered { bare, upto, .. } = gathered;
        let contents = bare.iter().map(|bare| bare.content.clone()).collect();
        let asked = self.ask(embedder, contents).await?;
        let embedded = match asked {
            Ok(Embedded { vectors, .. }) => vectors,
            Err(fault) if fault.may_be_of_a_text() && bare.len() > 1 => {
                tracing::debug!(%fault, "the embedder refused several texts: they are sent one by one");
                self.batch = 1;
                return Ok(());
            }
            Err(fault) if fault.may_be_of_a_text() => {
                // an embedder that takes another text does not take this one
                self.ask(embedder, vec![PROBE.to_owned()]).await??;
                tracing::debug!(%fault, "the embedder has no vector for a memory");
                bare.iter().for_each(|bare| self.skip(bare.key));
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        self.batch = (self.batch * 2).min(BATCH_MAX);
        let units = bare.into_iter().zip(embedded.iter().map(|unit| unit.as_ref().map(Codes::of)));
        let mut made = Vec::new();
        for (bare, codes) in units {
            match codes {
                Some(codes) => made.push((bare, codes)),
                None => self.skip(bare.key),
            }
        }
        let (vectors, source, generation) = (self.vectors.clone(), self.source.clone(), self.generation);
        self.blocking(move || add(&vectors, &source, generation, &made)).await??;
        self.embedded = upto;
        self.failures = 0;
        Ok(())
    }

    fn skip(&mut self, key: Key) {
        if self.skipped.len() >= SKIPPED_MAX {
            self.skipped.clear();
        }
        self.skipped.insert(key);
    }

    fn left_out(&self, state: EmbedderState) -> Option<String> {
        match state {
            EmbedderState::Full => Some("there are as many vectors as there can be".to_owned()),
            _ if self.skipped.is_empty() => None,
            _ => Some(format!("the embedder has no vector for {} of the texts", self.skipped.len())),
        }
    }

    fn say(&self, state: EmbedderState, reason: Option<String>) {
        let mut told = self.vectors.told();
        (told.state, told.reason) = (state, reason);
    }

    /// Leaves the embedder alone for a time, which doubles.
    fn fail(&mut self, why: String) -> Duration {
        tracing::debug!(why, "vectors stand still");
        self.vectors.set_ready(None);
        self.say(EmbedderState::Failing, Some(why));
        self.known = false;
        let wait = doubled(WAIT_MIN, self.failures, WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.vectors.world.now().saturating_add(wait);
        wait
    }

    /// Drops all vectors of a model that is another one now. A model that changes again and again is not followed each time.
    async fn begin_anew(&mut self) -> Duration {
        tracing::warn!("the embedder gives other vectors than before: all memories are embedded anew");
        self.leave_index();
        self.skipped.clear();
        let path = self.file();
        let _ = self.vectors.world.blocking(move || overwrite_and_remove(&path)).await;
        let wait =
            if self.changes == 0 { Duration::ZERO } else { doubled(CHANGE_WAIT, self.changes - 1, CHANGE_WAIT_MAX) };
        self.changes = self.changes.saturating_add(1);
        self.not_before = self.vectors.world.now().saturating_add(wait);
        let mut told = self.vectors.told();
        told.changes += 1;
        told.state = EmbedderState::Failing;
        told.reason = Some(format!("{}: all memories are embedded anew", EmbedFault::Changed));
        wait
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
        self.vectors.world.blocking(work).await.map_err(|_| Trouble::Stopped)
    }
}

fn doubled(least: Duration, times: u32, most: Duration) -> Duration {
    least.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

fn open(wanted: &Wanted, directory: &Path, world: &World) -> Result<Arc<dyn Embedder>, Trouble> {
    match &wanted.place {
        EmbedderPlace::Model(name) => {
            let from = DataDir::models_path(directory).join(name);
            if !from.is_dir() {
                return Err(Trouble::Here(format!("there is no model {name}: `nexus-node model add FILE` adds one")));
            }
            let model = ModelEmbedder::read(&from, name, world.clone());
            Ok(Arc::new(model.map_err(|error| Trouble::Here(error.to_string()))?))
        }
        EmbedderPlace::Http(endpoint) => {
            let key = match std::env::var(KEY_VARIABLE).map(Zeroizing::new) {
                Ok(key) if !key.is_empty() => Some(key),
                _ => DataDir::embedder_key_in(directory).map_err(|error| Trouble::Here(error.to_string()))?,
            };
            let embedder = HttpEmbedder::new(endpoint.as_str(), wanted.model.as_str(), key);
            Ok(Arc::new(embedder.ok_or_else(|| Trouble::Here("this build asks no address".to_owned()))?))
        }
        EmbedderPlace::None => Err(Trouble::Here("there is no embedder".to_owned())),
    }
}

impl Vectors {
    /// Changes the index of a keeper, if it is still there.
    fn change<T: Default>(
        &self,
        generation: u64,
        change: impl FnOnce(&mut Index) -> io::Result<T>,
    ) -> Result<T, Trouble> {
        let mut index = self.index_mut();
        let Some(index) = index.as_mut().filter(|index| index.generation() == generation) else {
            return Ok(T::default());
        };
        Ok(change(index)?)
    }
}

/// Follows the changes of some entries. The last of them; `None` if there are no more.
fn follow(vectors: &Vectors, source: &Source, generation: u64, seen: Eno) -> Result<Option<Eno>, Trouble> {
    source.vantage().read(|snapshot, reader| {
        // each record is read once, however many entries touch it
        let (mut looked, mut last) = (BTreeSet::new(), None);
        for (eno, touched) in touched_after(snapshot, seen)? {
            for dot in touched.all() {
                if !looked.insert(dot) {
                    continue;
                }
                let stands = reader.stand_for(dot)?;
                let mut shown = Vec::new();
                for stands in stands.all() {
                    shown.extend(reader.shown(stands)?);
                }
                vectors.change(generation, |index| {
                    let is_shown = |dot: &Dot| shown.iter().any(|shown| shown.record == *dot);
                    for gone in [dot].into_iter().chain(stands.all()).filter(|dot| !is_shown(dot)) {
                        index.unlink(gone)?;
                    }
                    let mut linked = false;
                    for shown in &shown {
                        linked |= index.link(shown)?;
                    }
                    Ok(linked)
                })?;
            }
            last = Some(eno);
        }
        vectors.change(generation, Index::sync)?;
        Ok(last)
    })
}

fn gather(
    vectors: &Vectors,
    source: &Source,
    generation: u64,
    after: Eno,
    skipped: &BTreeSet<Key>,
    most: usize,
) -> Result<Gathered, Trouble> {
    source.vantage().read(|snapshot, reader| {
        let (mut bare, mut upto, mut bytes) = (Vec::<Bare>::new(), after, 0);
        let entries = touched_after(snapshot, after)?;
        let more = !entries.is_empty();
        let mut looked = BTreeSet::new();
        for (eno, touched) in entries {
            for dot in touched.all() {
                for stands in reader.stand_for(dot)?.all() {
                    if !looked.insert(stands) {
                        continue;
                    }
                    if vectors.index().as_ref().is_some_and(|index| index.contains(stands)) {
                        continue;
                    }
                    let Some(shown) = reader.shown(stands)? else { continue };
                    let content = content_of(&shown.memory);
                    let key = key_of(&content);
                    if skipped.contains(&key) || vectors.change(generation, |index| index.link(&shown))? {
                        continue;
                    }
                    bytes += content.len();
                    // a text that says the same is linked once the vector is there
                    let said = bare.iter().any(|known| known.key == key);
                    if said || bare.len() >= most || bytes > BATCH_BYTES_MAX && !bare.is_empty() {
                        return Ok(Gathered { bare, upto, more });
                    }
                    bare.push(Bare { record: shown.record, key, content });
                }
            }
            upto = eno;
        }
        Ok(Gathered { bare, upto, more })
    })
}

/// Adds vectors of memories that are still as they were.
fn add(vectors: &Vectors, source: &Source, generation: u64, made: &[(Bare, Codes)]) -> Result<(), Trouble> {
    source.vantage().read(|_, reader| {
        for (bare, codes) in made {
            let shown = reader.shown(bare.record)?;
            let Some(shown) = shown.filter(|shown| key_of(&content_of(&shown.memory)) == bare.key) else { continue };
            vectors.change(generation, |index| {
                index.add(bare.key, codes)?;
                index.link(&shown)
            })?;
        }
        Ok(())
    })
}
