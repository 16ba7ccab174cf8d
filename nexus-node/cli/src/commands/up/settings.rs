//! The configuration of the running node. A change goes to the file, and for live keys takes effect at once.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use nexus_client::wire;
use nexus_node::Node;
use nexus_node::api::{Counter, DiskUse, Problem};
use nexus_node::config::{self, Config, SettingOrigin, Settings};
use serde_json::Value;

use crate::commands::doctor::drive;
use crate::log::Log;
use crate::otlp::Otlp;
use crate::problems::config_problem;

/// The process around the node: its configuration, its log and its traces.
pub(super) struct Process {
    pub(super) log: Log,
    pub(super) otlp: Option<Otlp>,
    pub(super) started_by: &'static str,
}

pub(super) struct LiveSettings {
    directory: PathBuf,
    flags: Vec<(&'static str, String)>,
    settings: RwLock<Settings>,
    process: Process,
    node: RwLock<Option<Node>>,
}

impl LiveSettings {
    pub(super) fn new(
        directory: PathBuf,
        flags: Vec<(&'static str, String)>,
        settings: Settings,
        process: Process,
    ) -> Self {
        Self { directory, flags, settings: RwLock::new(settings), process, node: RwLock::new(None) }
    }

    /// Sends traces in the name of this node from now on, if there is a collector.
    pub(super) fn trace(&self, node: &Node) -> Result<(), Problem> {
        let Some(otlp) = &self.process.otlp else { return Ok(()) };
        let failed = |error| Problem::new("failed", format!("traces cannot be sent: {error}"));
        otlp.start(&node.did().to_string(), &node.name().to_string()).map_err(failed)
    }

    /// The current values.
    pub(super) fn config(&self) -> Config {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).config().clone()
    }

    /// Whether the API's address was given.
    pub(super) fn api_addr_given(&self) -> bool {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.origin("api_addr").is_some_and(|origin| origin != SettingOrigin::Default)
    }

    /// Tells this node of changes from now on.
    pub(super) fn attach(&self, node: Node) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }
}

impl nexus_node::api::Settings for LiveSettings {
    fn show(&self) -> Vec<wire::Setting> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let rows = settings.rows().into_iter().map(|row| {
            let origin = match row.origin {
                SettingOrigin::Default => "default",
                SettingOrigin::File => "file",
                SettingOrigin::Env => "environment",
                SettingOrigin::Flag => "flag",
            };
            let about = config::Key::named(row.key).map(about).unwrap_or_default();
            wire::Setting {
                key: row.key.to_owned(),
                value: row.value,
                origin: origin.to_owned(),
                live: row.live,
                about,
            }
        });
        rows.collect()
    }

    fn change(&self, key: &str, value: &Value) -> Result<(), Problem> {
        let text = text(value);
        if key == "log" {
            crate::log::parse(&text)?;
        }
        // One change at a time, from the file to its effect.
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        config::set_in(&self.directory, key, &text).map_err(config_problem)?;
        *settings = Settings::load(&self.directory, &self.flags).map_err(config_problem)?;
        self.process.log.change(settings.config().log.as_str())?;
        if let Some(node) = &*self.node.read().unwrap_or_else(PoisonError::into_inner) {
            node.configure(settings.config());
        }
        Ok(())
    }

    fn started_by(&self) -> Option<&'static str> {
        Some(self.process.started_by)
    }

    fn traces(&self) -> bool {
        self.process.otlp.is_some()
    }

    fn counters(&self) -> Vec<Counter> {
        self.process.otlp.iter().flat_map(Otlp::counters).collect()
    }

    fn disk(&self) -> Option<DiskUse> {
        let space = drive::space(&self.directory);
        let (free, total) = space.map_or((None, None), |space| (Some(space.free), Some(space.total)));
        Some(DiskUse { used: bytes_below(&self.directory), free, total })
    }

    fn open_files(&self) -> Option<(u64, u64)> {
        open_files()
    }

    fn body_bytes_max(&self) -> usize {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).config().http_body_bytes_max.size()
    }
}

/// A value in a person's form.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}={}", self::text(value))).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// The meaning of a key, in a line.
fn about(key: &config::Key) -> String {
    key.doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The open files of this process, and the most that it may have.
#[cfg(target_os = "linux")]
fn open_files() -> Option<(u64, u64)> {
    // the directory itself is open meanwhile
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some((u64::try_from(open).ok()?, most))
}

#[cfg(not(target_os = "linux"))]
fn open_files() -> Option<(u64, u64)> {
    None
}

/// The size of the files below a directory, in bytes. Files that come and go meanwhile count or do not.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
