use std::io;
use std::path::PathBuf;

use clap::Subcommand;
use nexus_node::api::Problem;
use nexus_node::brain::{Model as Kept, ModelError, add_model, list_models, remove_model};
use nexus_node::config::{EmbedderPlace, Settings};
use nexus_node::datadir::{Contents, DataDir};
use serde_json::json;

use crate::output::{Table, sane, size};
use crate::problems::{config_problem, data_dir_problem, no_node};
use crate::session::CliSession;

/// Models of static vectors, by which memories are found by their meaning
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Check a model and copy it into the data directory
    Add {
        /// A directory with model.safetensors and tokenizer.json, or the file of vectors with the tokenizer beside it
        #[arg(value_name = "FILE|DIR")]
        from: PathBuf,
        /// Its name here [default: the name of its directory]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// The models of the data directory
    List,
    /// Remove a model
    Remove {
        /// Its name
        name: String,
    },
}

impl Model {
    /// Works on the files: a model is too large for the API, and a running node looks when its settings change.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if session.elsewhere() {
            let problem = Problem::new("usage", "a model is a file in the data directory of a node on this machine");
            return Err(problem.hint("leave --api out, and run this on that machine"));
        }
        let directory = session.data_dir()?;
        if DataDir::inspect(&directory).map_err(data_dir_problem)? == Contents::Empty {
            return Err(no_node(&format!("{} holds no node", directory.display())));
        }
        let models = DataDir::models_path(&directory);
        let settings = Settings::load(&directory, &[]).map_err(config_problem)?;
        let used = match &settings.config().embedder {
            EmbedderPlace::Model(name) => Some(name.as_str()),
            _ => None,
        };
        let document = |model: &Kept| {
            let Kept { name, dimension, tokens, bytes, fingerprint } = model;
            json!({
                "name": name, "dimension": dimension, "tokens": tokens, "bytes": bytes, "fingerprint": fingerprint,
                "used": used == Some(name.as_str()),
            })
        };
        match self {
            Self::Add { from, name } => {
                let added = add_model(&models, &from, name.as_deref()).map_err(problem)?;
                session.printer.answer(&document(&added), || {
                    format!("{}: vectors of {} components for {} tokens", added.name, added.dimension, added.tokens)
                })?;
                let next = format!("next: `{} config set embedder model:{}`", session.program(), added.name);
                session.printer.note(&next);
                Ok(())
            }
            Self::List => {
                let all = list_models(&models).map_err(problem)?;
                let documents: Vec<_> = all.iter().map(document).collect();
                session.printer.answer(&documents, || {
                    if all.is_empty() {
                        return "there is no model; `nexus-node model add FILE` adds one".to_owned();
                    }
                    let mut table = Table::new(["MODEL", "DIMENSION", "TOKENS", "SIZE", "USED"]);
                    for model in &all {
                        let is_used = if used == Some(model.name.as_str()) { "yes" } else { "" };
                        table.row([
                            (sane(&model.name), None),
                            (model.dimension.to_string(), None),
                            (model.tokens.to_string(), None),
                            (size(model.bytes), None),
                            (is_used.to_owned(), None),
                        ]);
                    }
                    table.show(&session.printer)
                })
            }
            Self::Remove { name } => {
                if used == Some(name.as_str()) {
                    let problem = Problem::new("in_use", format!("{name} is the embedder of this node"));
                    return Err(problem.hint("`nexus-node config set embedder \"\"` first"));
                }
                remove_model(&models, &name).map_err(problem)?;
                session.printer.answer(&json!({ "removed": name }), || format!("removed {name}"))
            }
        }
    }
}

fn problem(error: ModelError) -> Problem {
    let (code, hint) = match &error {
        ModelError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ("not_found", "a model is a directory with model.safetensors and tokenizer.json")
        }
        ModelError::TooLarge { .. } => ("too_large", "a model of static vectors has some hundred megabytes at most"),
        ModelError::NoModel { .. } => (
            "invalid",
            "models are read as model2vec writes them: `embeddings` in model.safetensors, and tokenizer.json",
        ),
        ModelError::BadName(_) => ("invalid", "give --name: 1 to 64 letters, digits, dots, dashes and underscores"),
        ModelError::Exists(_) => ("conflict", "give another --name, or `nexus-node model remove` it first"),
        ModelError::Unknown(_) => ("not_found", "`nexus-node model list` has the names"),
        ModelError::TooMany => ("full", "`nexus-node model remove` one first"),
        ModelError::NotBuilt => ("failed", "build the program with the feature `models`"),
        _ => ("failed", "look at the rights on that file, and at the room on the disk"),
    };
    Problem::new(code, error.to_string()).hint(hint)
}
