//! An embedder for the measured nodes: somebody's own, or a model of random vectors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::brain::EmbedderState;
use nexus_node::brain::add_model;
use nexus_node::config::Settings;
use nexus_node::datadir::DataDir;
use serde_json::json;

use super::client::failed;
use super::stage::until;
use super::words::Words;
use nexus_node_cli::ground::config_problem;

/// The name of a model in a measured node's directory.
const MODEL: &str = "bench";
/// The components of random vectors.
pub(super) const DIMENSION: usize = 256;

/// The embedder of a bench: an address with the name of a model there, or a file of static vectors.
#[derive(Clone, Debug)]
pub(super) struct BenchEmbedder {
    pub(super) at: String,
    pub(super) model: Option<String>,
}

impl BenchEmbedder {
    /// Sets the embedder of a node, and waits until all its memories have vectors.
    pub(super) async fn set(&self, node: &Node, dir: &Path, memories: usize) -> Result<(), Problem> {
        let place = if self.at.starts_with("http") {
            self.at.clone()
        } else {
            let models = DataDir::models_path(dir);
            let model = add_model(&models, Path::new(&self.at), Some(MODEL));
            model.map_err(|error| Problem::new("invalid", error.to_string()))?;
            format!("model:{MODEL}")
        };
        let mut flags = vec![("embedder", place)];
        flags.extend(self.model.clone().map(|model| ("embedder_model", model)));
        node.configure(Settings::resolve(None, [], &flags).map_err(config_problem)?.config());
        until("vectors", async || {
            let status = node.status().await.embedder;
            match status.state {
                EmbedderState::Failing => {
                    let why = status.reason.unwrap_or_default();
                    Err(Problem::new("failed", why)
                        .hint("`--embedder` is an address as of the setting `embedder`, or a model"))
                }
                // texts of which the model knows nothing have none
                EmbedderState::Ok => Ok(status.embedded >= memories || status.reason.is_some()),
                _ => Ok(false),
            }
        })
        .await
    }
}

/// Writes a model with a random vector for each word.
pub(super) fn random_model(dir: &Path, words: &Words) -> Result<BenchEmbedder, Problem> {
    let wrong = |error: std::io::Error| failed("vectors", error);
    fs::create_dir_all(dir).map_err(wrong)?;
    let vocabulary: BTreeMap<&str, usize> =
        ["[UNK]"].into_iter().chain(words.all()).enumerate().map(|(id, word)| (word, id)).collect();
    let count = vocabulary.len();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).map_err(wrong)?;
    let bytes = count * DIMENSION * 4;
    let header = json!({"embeddings": {"dtype": "F32", "shape": [count, DIMENSION], "data_offsets": [0, bytes]}});
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let mut noise = blake3::Hasher::new_derive_key("nexus bench vectors").finalize_xof();
    let mut random = vec![0; count * DIMENSION * 2];
    noise.fill(&mut random);
    for bytes in random.chunks_exact(2) {
        file.extend(f32::from(i16::from_le_bytes([bytes[0], bytes[1]])).to_le_bytes());
    }
    fs::write(dir.join("model.safetensors"), file).map_err(wrong)?;
    Ok(BenchEmbedder { at: dir.display().to_string(), model: None })
}
