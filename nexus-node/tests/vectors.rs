//! Memories found by their meaning: a real node with a stand-in for an embedder, which can misbehave, and with a small
//! model file.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

#[path = "support/embedder.rs"]
mod embedder;

use std::path::Path;
use std::time::Duration;

use embedder::{Mode, StandIn, write_model};
use nexus_node::brain::{EmbedderState, EmbedderStatus};
use nexus_node::brain::{ModelError, add_model, list_models, remove_model};
use nexus_node::config::{Config, Settings};
use nexus_node::memory::Recalled;
use nexus_node::{MemoryId, NewMemory, Node, Patch, RecallQuery};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

fn config(embedder: &str) -> Config {
    let file = format!("name = 'me'\nmdns = false\nlisten = ['/ip4/127.0.0.1/tcp/0']\nembedder = '{embedder}'\n");
    Settings::resolve(Some(&file), [], &[]).unwrap().config().clone()
}

async fn start(dir: &Path, embedder: &str) -> Node {
    Node::builder(dir.join("data")).config(config(embedder)).start().await.unwrap()
}

async fn remember(node: &Node, text: &str) -> MemoryId {
    node.brain().remember(NewMemory::note(text)).await.unwrap().id
}

/// Waits until the state of the embedder is as asked.
async fn until(node: &Node, what: &str, holds: impl Fn(&EmbedderStatus) -> bool) -> EmbedderStatus {
    let reached = async {
        loop {
            let status = node.status().await.embedder;
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(SOON, reached).await {
        Ok(status) => status,
        Err(_) => panic!("{what}: {:?}", node.status().await.embedder),
    }
}

async fn until_embedded(node: &Node, count: usize) -> EmbedderStatus {
    until(node, "all are embedded", |now| now.state == EmbedderState::Ok && now.embedded == count).await
}

async fn until_failing(node: &Node) -> String {
    let status = until(node, "the embedder fails", |now| now.state == EmbedderState::Failing).await;
    status.reason.unwrap()
}

async fn recall(node: &Node, question: &str) -> Recalled {
    node.brain().recall(question).await.unwrap()
}

fn texts(recalled: &Recalled) -> Vec<&str> {
    recalled.hits.iter().map(|hit| hit.memory.text.as_str()).collect()
}

const CAR: &str = "the automobile is parked behind the office";
const BREAD: &str = "the oven bakes at six in the morning";

/// promise: Recall | With an embedder a memory in other words is found by its meaning, marked, and never an answer alone
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_in_other_words_is_found_by_its_meaning_and_marked() {
    let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
    for address in [server.ollama(), server.openai()] {
        let dir = dir.path().join(address.rsplit('/').next().unwrap());
        let node = start(&dir, "").await;
        remember(&node, CAR).await;
        remember(&node, BREAD).await;
        assert!(texts(&recall(&node, "vehicle").await).is_empty(), "no embedder, no meaning");
        assert_eq!(node.status().await.embedder, EmbedderStatus::default());

        node.configure(&config(&address));
        let status = until_embedded(&node, 2).await;
        assert_eq!((status.dimension, status.embedder.as_deref()), (Some(embedder::DIMENSION), Some(address.as_str())));
        let found = recall(&node, "vehicle").await;
        assert_eq!(texts(&found), [CAR]);
        let hit = &found.hits[0];
        assert!(hit.by_meaning && hit.weak && hit.matched.is_empty() && hit.score < 0.1, "{hit:?}");
        assert_eq!(hit.why, "Its meaning is near.");
        assert!(found.is_empty(), "a meaning alone is no answer");
        // a word of the question is no meaning alone, and its memory comes first
        let found = recall(&node, "when is the oven on for the bread").await;
        assert_eq!(texts(&found)[0], BREAD);
        assert!(!found.hits[0].by_meaning && found.hits[0].why.contains("“oven”"), "{:?}", found.hits[0]);
        // conditions hold for meanings, too
        let tagged = node.brain().recall(RecallQuery::of("vehicle").tag("other")).await.unwrap();
        assert!(tagged.hits.is_empty());

        node.configure(&config(""));
        until(&node, "it is off", |now| now.state == EmbedderState::Off).await;
        assert!(recall(&node, "vehicle").await.hits.is_empty());
        node.shutdown().await;
    }
}

/// promise: Recall | The vector of a forgotten or edited memory is gone from memory and file, also while the embedder is away
#[tokio::test(flavor = "multi_thread")]
async fn the_vector_of_a_forgotten_memory_is_gone_from_the_file_too() {
    let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
    let node = start(dir.path(), &server.ollama()).await;
    let car = remember(&node, CAR).await;
    let bread = remember(&node, BREAD).await;
    until_embedded(&node, 2).await;
    let file = dir.path().join("data/vectors/memories");
    let has = |text: &str| {
        let key = blake3::hash(text.as_bytes());
        std::fs::read(&file).unwrap().windows(16).any(|window| window == &key.as_bytes()[..16])
    };
    assert!(has(CAR) && has(BREAD));

    server.set(Mode::Hangs);
    node.brain().forget(&car).await.unwrap();
    until(&node, "the vector is gone", |now| now.embedded == 1).await;
    assert!(!has(CAR) && has(BREAD));
    node.brain().edit(&bread, Patch::text("the baker came by")).await.unwrap();
    until(&node, "the vector is gone", |now| now.embedded == 0).await;
    assert!(!has(BREAD));
    node.shutdown().await;
    drop(node);

    // after a restart nothing is embedded twice
    server.set(Mode::Good);
    let node = start(dir.path(), &server.ollama()).await;
    until_embedded(&node, 1).await;
    node.shutdown().await;
    drop(node);
    let before = server.texts();
    let node = start(dir.path(), &server.ollama()).await;
    until_embedded(&node, 1).await;
    assert!(!server.texts()[before.len()..].iter().any(|text| text.contains("baker")), "only the probe is asked");
    // without an embedder no vector is kept
    node.configure(&config(""));
    let gone = async {
        while file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
    node.shutdown().await;
}

/// promise: Recall | An embedder that hangs, lies, returns no numbers or too much leaves recall by words as it is, and `status` says so
#[tokio::test(flavor = "multi_thread")]
async fn words_go_on_whatever_the_embedder_does() {
    let modes = [
        (Mode::Dimension, "components"),
        (Mode::NotANumber, "cannot be read"),
        (Mode::Infinite, "out of range"),
        (Mode::Zero, "all zeros"),
        (Mode::TooFew, "vectors for"),
        (Mode::Huge, "more than"),
        (Mode::NoJson, "cannot be read"),
        (Mode::Refuses, "404: no such model"),
        (Mode::HangsUp, "cannot be reached"),
    ];
    for (mode, said) in modes {
        let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
        server.set(mode);
        let node = start(dir.path(), &server.ollama()).await;
        remember(&node, CAR).await;
        assert_eq!(texts(&recall(&node, "automobile").await), [CAR], "{mode:?}");
        let reason = until_failing(&node).await;
        assert!(reason.contains(said), "{mode:?}: {reason}");
        assert_eq!(texts(&recall(&node, "automobile").await), [CAR], "{mode:?}");
        // it mends itself
        server.set(Mode::Good);
        until_embedded(&node, 1).await;
        assert_eq!(texts(&recall(&node, "vehicle").await), [CAR], "{mode:?}");
        node.shutdown().await;
    }
}

/// promise: Recall | A question is answered by words while the embedder hangs
#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_while_the_embedder_hangs() {
    let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
    let node = start(dir.path(), &server.ollama()).await;
    remember(&node, CAR).await;
    until_embedded(&node, 1).await;
    server.set(Mode::Hangs);
    for n in 0..4 {
        // the stand-in never answers: the deadline of a question is shorter than that of this test
        assert_eq!(texts(&recall(&node, &format!("automobile {n}")).await), [CAR]);
    }
    let reason = until_failing(&node).await;
    assert!(reason.contains("did not answer within"), "{reason}");
    node.shutdown().await;
}

/// promise: Recall | A model that changes under its name has all memories embedded anew, and `status` says so
#[tokio::test(flavor = "multi_thread")]
async fn another_model_under_the_same_name_is_noticed_and_all_is_embedded_anew() {
    for mode in [Mode::OtherModel, Mode::OtherDimension] {
        let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
        let node = start(dir.path(), &server.ollama()).await;
        remember(&node, CAR).await;
        until_embedded(&node, 1).await;
        server.set(mode);
        // the next memory, or the next question, shows it
        remember(&node, BREAD).await;
        let status = until(&node, "the change is seen", |now| now.changes == 1).await;
        assert_eq!(status.changes, 1);
        until_embedded(&node, 2).await;
        assert_eq!(texts(&recall(&node, "vehicle").await), [CAR], "{mode:?}");
        node.shutdown().await;
    }
}

/// promise: Recall | One text that the embedder does not take keeps no other one from its vector
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_embedder_refuses_is_left_out_alone() {
    let (dir, server) = (TempDir::new().unwrap(), StandIn::start().await);
    let node = start(dir.path(), "").await;
    let texts = (0..40).map(|n| NewMemory::note(if n == 7 { "poison".to_owned() } else { format!("{CAR} {n}") }));
    node.brain().remember_all(texts.collect()).await.unwrap();
    node.configure(&config(&server.ollama()));
    let status = until_embedded(&node, 39).await;
    assert_eq!(status.reason.as_deref(), Some("the embedder has no vector for 1 of the texts"));
    node.shutdown().await;
}

/// promise: Recall | Equal nodes with equal settings give equal answers by meaning
#[tokio::test(flavor = "multi_thread")]
async fn equal_nodes_give_equal_answers() {
    let server = StandIn::start().await;
    let mut answers = Vec::new();
    for backwards in [false, true] {
        let dir = TempDir::new().unwrap();
        let node = start(dir.path(), &server.ollama()).await;
        let mut texts = [CAR, BREAD, "a vehicle without wheels", "bread and cheese", "the office is closed"];
        if backwards {
            texts.reverse();
        }
        for text in texts {
            remember(&node, text).await;
        }
        until_embedded(&node, texts.len()).await;
        let mut answer = Vec::new();
        for question in ["a car", "what does the baker do in the morning", "closed"] {
            let hits = recall(&node, question).await.hits;
            answer.push(hits.into_iter().map(|hit| (hit.memory.text, hit.by_meaning, hit.why)).collect::<Vec<_>>());
        }
        answers.push(answer);
        node.shutdown().await;
    }
    assert!(!answers[0][0].is_empty());
    assert_eq!(answers[0], answers[1]);
}

/// promise: Recall | A file of static vectors is checked wholly before it is copied, and then finds memories by meaning
#[tokio::test(flavor = "multi_thread")]
async fn a_model_file_finds_memories_by_meaning() {
    let dir = TempDir::new().unwrap();
    let node = start(dir.path(), "").await;
    remember(&node, CAR).await;
    remember(&node, BREAD).await;
    remember(&node, "分散型メモリ").await;
    let (models, from) = (dir.path().join("data/models"), dir.path().join("tiny"));
    write_model(&from, 4);
    let added = add_model(&models, &from, None).unwrap();
    assert_eq!((added.name.as_str(), added.dimension), ("tiny", 4));
    assert_eq!(list_models(&models).unwrap(), [added]);
    assert!(matches!(add_model(&models, &from, None), Err(ModelError::Exists(_))));

    node.configure(&config("model:tiny"));
    // the model knows no word of the third one
    let status = until_embedded(&node, 2).await;
    assert_eq!((status.dimension, status.model.as_deref()), (Some(4), Some("tiny")));
    let found = recall(&node, "vehicle").await;
    assert_eq!(texts(&found), [CAR]);
    assert!(found.hits[0].by_meaning);
    node.shutdown().await;
    drop(node);

    let node = start(dir.path(), "model:tiny").await;
    until_embedded(&node, 2).await;
    remove_model(&models, "tiny").unwrap();
    assert!(list_models(&models).unwrap().is_empty());
    node.shutdown().await;
    drop(node);
    let node = start(dir.path(), "model:tiny").await;
    let reason = until_failing(&node).await;
    assert!(reason.contains("there is no model tiny"), "{reason}");
    assert_eq!(texts(&recall(&node, "automobile").await), [CAR]);
    node.shutdown().await;
}

/// promise: Recall | A file that is no model, or of another form, is refused with its fault, and nothing is left of it
#[test]
fn a_file_that_is_no_model_is_refused() {
    let dir = TempDir::new().unwrap();
    let models = dir.path().join("models");
    let refusal = |name: &str, spoil: &dyn Fn(&Path)| {
        let from = dir.path().join(name);
        write_model(&from, 4);
        spoil(&from);
        let error = add_model(&models, &from, None).unwrap_err().to_string();
        assert!(list_models(&models).unwrap().is_empty(), "{error}");
        assert!(!models.join(".adding").exists(), "{error}");
        error
    };
    let tensors = |from: &Path| from.join("model.safetensors");
    let cut = |from: &Path| {
        let bytes = std::fs::read(tensors(from)).unwrap();
        std::fs::write(tensors(from), &bytes[..bytes.len() - 1]).unwrap();
    };
    assert!(refusal("cut", &cut).contains("no safetensors file"));
    assert!(
        refusal("text", &|from| std::fs::write(tensors(from), "no model").unwrap()).contains("no safetensors file")
    );
    // a header that claims more than there is
    let claim = |from: &Path| std::fs::write(tensors(from), u64::MAX.to_le_bytes()).unwrap();
    assert!(refusal("claim", &claim).contains("no safetensors file"));
    let named = |from: &Path| embedder::write_tensor(&tensors(from), "other", &[2, 2], &[1.0; 4]);
    assert!(refusal("named", &named).contains("no tensor `embeddings`; it has other"));
    let flat = |from: &Path| embedder::write_tensor(&tensors(from), "embeddings", &[4], &[1.0; 4]);
    assert!(refusal("flat", &flat).contains("1 axes"));
    let wide = |from: &Path| embedder::write_tensor(&tensors(from), "embeddings", &[1, 5_000], &[1.0; 5_000]);
    assert!(refusal("wide", &wide).contains("1 to 4096 components"));
    let short = |from: &Path| embedder::write_tensor(&tensors(from), "embeddings", &[2, 4], &[1.0; 8]);
    assert!(refusal("short", &short).contains("vectors of 2 tokens"));
    let count = embedder::VOCABULARY.len();
    let endless = |from: &Path| {
        embedder::write_tensor(&tensors(from), "embeddings", &[count, 4], &vec![f32::INFINITY; 4 * count]);
    };
    assert!(refusal("endless", &endless).contains("infinite"));
    let tokenizer = |from: &Path| std::fs::write(from.join("tokenizer.json"), "{}").unwrap();
    assert!(refusal("tokenizer", &tokenizer).contains("no tokenizer"));
    let alone = |from: &Path| std::fs::remove_file(from.join("tokenizer.json")).unwrap();
    assert!(refusal("alone", &alone).contains("tokenizer.json"));
    let good = dir.path().join("good");
    write_model(&good, 4);
    for name in ["", ".hidden", "a/b", "..", &"x".repeat(65)] {
        assert!(matches!(add_model(&models, &good, Some(name)), Err(ModelError::BadName(_))), "{name}");
    }
    assert!(matches!(remove_model(&models, "../good"), Err(ModelError::Unknown(_))));
    // the file itself may be named
    assert_eq!(add_model(&models, &good.join("model.safetensors"), Some("mine")).unwrap().name, "mine");
}
