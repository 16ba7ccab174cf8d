//! Vectors: finding memories by their meaning, where somebody has a model.
//!
//! An embedder makes vectors of texts: a service at an address, or a file of static vectors. Without one there is no
//! task, no file and no cost. Vectors are derived. They are keyed by the hash of a memory's content and by the model, are
//! in no entry, leave with their memory, and can be deleted at any time. Words go on whatever becomes of the embedder.
//!
//! | room | content |
//! |---|---|
//! | `embedder` | the seam, and the check of all that comes out of it |
//! | `http` | a service at an address; `no_http` in a build without feature `http` |
//! | `model` | a model of static vectors; `no_model` in a build without feature `models` |
//! | `models` | adding, listing and removing such models |
//! | `codes` | a vector in bytes, and similarity |
//! | `file` | the file of vectors |
//! | `index` | the vectors of memories in sight, and the scan |
//! | `keeper` | the task that keeps vectors up with memories |

mod codes;
mod embedder;
mod file;
#[cfg_attr(not(feature = "http"), path = "vectors/no_http.rs")]
mod http;
mod index;
mod keeper;
#[cfg_attr(not(feature = "models"), path = "vectors/no_model.rs")]
mod model;
mod models;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use nexus_identity::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};

use self::codes::QuestionCodes;
use self::embedder::{EmbedFault, Embedder};
use self::file::ModelIdentity;
use self::index::Index;
use crate::config::{Config, EmbedderModel, EmbedderPlace};
use crate::filter::Filter;
use crate::ledger::rows::Eno;
use crate::words;
use crate::world::World;

pub(crate) use self::index::Near;
pub(crate) use self::keeper::keep;
pub use self::models::{Model, ModelError, add_model, list_models, remove_model};

/// How long a question waits for its vector. Then it is answered by words alone.
const QUESTION_PATIENCE: Duration = Duration::from_millis(300);
/// The most questions that wait for their vectors at a time. A further one is answered by words alone.
const QUESTIONS_MAX: usize = 8;
/// The most phrasings of a question, and how much of each is embedded, in bytes.
const PHRASINGS_MAX: usize = 4;
const PHRASING_BYTES_MAX: usize = 8 << 10;
/// The most questions whose vectors are kept.
const KEPT_MAX: usize = 256;
/// The failures in a row after which questions do not ask the embedder until it has answered again.
const FAILURES_MAX: u32 = 3;

/// The settings of the embedder.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    place: EmbedderPlace,
    model: EmbedderModel,
}

impl Wanted {
    fn of(config: &Config) -> Self {
        Self { place: config.embedder.clone(), model: config.embedder_model.clone() }
    }
}

/// The state of the embedder and of the vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmbedderState {
    /// There is no embedder.
    #[default]
    Off,
    /// It was not asked yet.
    Starting,
    /// It answers, and some memories have no vector yet.
    Embedding,
    /// It answers, and all memories in sight have vectors, as far as it knows their texts.
    Ok,
    /// It does not answer, or its answers cannot be used. Words go on.
    Failing,
    /// There are as many vectors as there can be. Further memories are found by words alone.
    Full,
}

impl EmbedderState {
    /// The state in a word: `off`, `starting`, `embedding`, `ok`, `failing`, `full`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Embedding => "embedding",
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Full => "full",
        }
    }
}

/// The embedder as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbedderStatus {
    /// The state.
    pub state: EmbedderState,
    /// Why it is so, if there is more to say.
    pub reason: Option<String>,
    /// The setting `embedder`.
    pub embedder: Option<String>,
    /// The model, by its name.
    pub model: Option<String>,
    /// The components of a vector, once that is known.
    pub dimension: Option<usize>,
    /// The memories with a vector.
    pub embedded: usize,
    /// How often the model was another one since the node started. Each time all vectors are made anew.
    pub changes: u64,
}

/// An embedder that answers.
struct Ready {
    embedder: Arc<dyn Embedder>,
    identity: ModelIdentity,
}

#[derive(Default)]
struct Told {
    state: EmbedderState,
    reason: Option<String>,
    embedder: Option<String>,
    model: Option<String>,
    changes: u64,
}

/// The vectors of the last questions, with the number of the question that asked last.
#[derive(Default)]
struct Kept {
    vectors: BTreeMap<String, (u64, QuestionCodes)>,
    asked: u64,
}

/// The vectors of a node.
pub(crate) struct Vectors {
    world: World,
    /// The data directory; without one there are no vectors.
    directory: Option<PathBuf>,
    wanted: watch::Sender<Wanted>,
    index: RwLock<Option<Index>>,
    ready: RwLock<Option<Arc<Ready>>>,
    told: Mutex<Told>,
    kept: Mutex<Kept>,
    questions: Semaphore,
    failures: AtomicU32,
    /// The number of indexes that there were.
    generation: AtomicU64,
    /// Tells the keeper that questions got no answer.
    trouble: Notify,
    /// The last entry whose changes are in the file.
    followed: watch::Sender<Eno>,
}

impl Vectors {
    pub(crate) fn new(world: World, directory: Option<PathBuf>, config: &Config) -> Self {
        Self {
            world,
            directory,
            wanted: watch::Sender::new(Wanted::of(config)),
            index: RwLock::new(None),
            ready: RwLock::new(None),
            told: Mutex::default(),
            kept: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
            failures: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            trouble: Notify::new(),
            followed: watch::Sender::new(0),
        }
    }

    /// Waits until the vectors of all memories that were deleted up to an entry are overwritten on the disk, for at most so
    /// long. Whether they are.
    pub(crate) async fn follow_to(&self, upto: Eno, at_most: Duration) -> bool {
        let Some(directory) = &self.directory else { return true };
        let mut followed = self.followed.subscribe();
        let there = tokio::time::timeout(at_most, followed.wait_for(|followed| *followed >= upto));
        if self.index().is_some() {
            return there.await.is_ok_and(|followed| followed.is_ok());
        }
        // without an embedder there is no file
        let path = file::file_in(directory);
        self.world.blocking(move || !path.exists()).await.unwrap_or(false)
    }

    /// Puts changed settings into effect.
    pub(crate) fn configure(&self, config: &Config) {
        let wanted = Wanted::of(config);
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// The state for people.
    pub(crate) fn status(&self) -> EmbedderStatus {
        let (embedded, dimension) = {
            let index = self.index();
            (index.as_ref().map_or(0, Index::len), index.as_ref().map(|index| index.identity().dimension))
        };
        let told = self.told();
        EmbedderStatus {
            state: told.state,
            reason: told.reason.clone(),
            embedder: told.embedder.clone(),
            model: told.model.clone(),
            dimension,
            embedded,
            changes: told.changes,
        }
    }

    fn index(&self) -> RwLockReadGuard<'_, Option<Index>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Option<Index>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Option<Arc<Ready>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets questions ask an embedder, or none. Vectors of another model are forgotten.
    fn set_ready(&self, ready: Option<Arc<Ready>>) {
        if ready.is_none() {
            *self.kept() = Kept::default();
        }
        self.failures.store(0, Ordering::Relaxed);
        *self.ready.write().unwrap_or_else(PoisonError::into_inner) = ready;
    }

    /// The meaning of a question in all its phrasings. There is none without an embedder, and from one that does not
    /// answer soon.
    pub(crate) async fn meaning_of(self: &Arc<Self>, phrasings: &[&str]) -> Meaning {
        let Some(ready) = self.ready().filter(|_| phrasings.len() <= PHRASINGS_MAX) else { return Meaning::none() };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        {
            let mut kept = self.kept();
            kept.asked += 1;
            let asked = kept.asked;
            for phrasing in phrasings.iter().map(|phrasing| beginning(phrasing)).filter(|phrasing| !phrasing.is_empty())
            {
                match kept.vectors.get_mut(phrasing) {
                    Some((last, codes)) => {
                        *last = asked;
                        found.push(codes.clone());
                    }
                    None => missing.push(phrasing.to_owned()),
                }
            }
        }
        if !missing.is_empty() {
            found.extend(self.ask(&ready, missing).await);
        }
        Meaning { questions: found, vectors: Some(self.clone()) }
    }

    /// The vectors of some phrasings that are not kept.
    async fn ask(&self, ready: &Ready, phrasings: Vec<String>) -> Vec<QuestionCodes> {
        let Ok(_permit) = self.questions.try_acquire() else { return Vec::new() };
        let asked = embedder::ask(&*ready.embedder, phrasings.clone(), Some(&ready.identity), QUESTION_PATIENCE).await;
        let embedded = match asked {
            Ok(embedded) => embedded,
            Err(fault) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= FAILURES_MAX || fault == EmbedFault::Changed {
                    self.set_ready(None);
                    let mut told = self.told();
                    (told.state, told.reason) = (EmbedderState::Failing, Some(fault.to_string()));
                    self.trouble.notify_one();
                }
                return Vec::new();
            }
        };
        self.failures.store(0, Ordering::Relaxed);
        let mut kept = self.kept();
        let asked = kept.asked;
        let mut found = Vec::new();
        for (phrasing, unit) in phrasings.into_iter().zip(embedded.vectors) {
            let Some(codes) = unit.as_ref().map(QuestionCodes::of) else { continue };
            found.push(codes.clone());
            kept.vectors.insert(phrasing, (asked, codes));
        }
        while kept.vectors.len() > KEPT_MAX {
            let oldest = kept.vectors.iter().min_by_key(|(_, (last, _))| *last).map(|(phrasing, _)| phrasing.clone());
            let Some(oldest) = oldest else { break };
            kept.vectors.remove(&oldest);
        }
        found
    }
}

/// The part of a phrasing that is embedded.
fn beginning(phrasing: &str) -> &str {
    words::beginning(phrasing, PHRASING_BYTES_MAX).trim()
}

/// The meaning of a question: one vector for each phrasing that has one.
pub(crate) struct Meaning {
    questions: Vec<QuestionCodes>,
    vectors: Option<Arc<Vectors>>,
}

impl Meaning {
    /// The meaning of a question that is answered by words alone.
    pub(crate) const fn none() -> Self {
        Self { questions: Vec::new(), vectors: None }
    }

    /// The memories that are near to the phrasings, each with the sum of how near it is, at most `limit` for each phrasing.
    pub(crate) fn near(&self, filter: &Filter, now: Timestamp, limit: usize) -> Vec<Near> {
        let Some(vectors) = self.vectors.as_ref().filter(|_| !self.questions.is_empty()) else { return Vec::new() };
        let index = vectors.index();
        let Some(index) = &*index else { return Vec::new() };
        let mut sums = BTreeMap::new();
        for question in &self.questions {
            for near in index.nearest(question, filter, now, limit) {
                let sum = sums.entry(near.place).or_insert(Near { share: 0.0, ..near });
                sum.share += near.share;
            }
        }
        sums.into_values().collect()
    }
}
