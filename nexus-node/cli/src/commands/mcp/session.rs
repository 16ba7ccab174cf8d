//! The project of a session: where the client says that it works.
//!
//! A client that knows roots is asked for them after its handshake. Else the variables of the client count, and then the
//! directory in which it started this program.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use nexus_node::project::ProjectChoice;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::project::{directory, parameters, place_of, with_commits};

/// The id of the question for roots. No client has asked it.
const ROOTS_ID: &str = "nexus-roots";
/// The longest wait for a client's roots.
const ROOTS_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for git where a repository has no remote, and where it has one.
const GIT_TIMEOUT: Duration = Duration::from_secs(2);
const GIT_TIMEOUT_MORE: Duration = Duration::from_millis(300);

/// Where a session is.
pub(super) struct Session {
    follows: bool,
    named: Option<ProjectChoice>,
    roots: watch::Sender<Roots>,
    /// The parameters for a directory, once they are known.
    known: Mutex<Option<(Option<PathBuf>, String)>>,
}

/// The roots of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Roots {
    /// It has none, or was not asked yet.
    No,
    /// It knows what they are.
    Offered,
    Asked,
    Told(PathBuf),
}

impl Session {
    /// In a project of this name; without a name in that of the directory, if it `follows` that.
    pub(super) fn new(name: Option<String>, follows: bool) -> Self {
        let named = name.map(ProjectChoice::Named);
        let follows = follows && named.is_none();
        Self { follows, named, roots: watch::Sender::new(Roots::No), known: Mutex::default() }
    }

    /// Takes note of a message of the client. The answer to the question for roots goes no further; the question is to be
    /// asked where one is returned.
    pub(super) fn hear(&self, message: &Value) -> Heard {
        if !self.follows {
            return Heard::Nothing;
        }
        let method = message.get("method").and_then(Value::as_str);
        match method {
            Some("initialize") => {
                let offers = message.pointer("/params/capabilities/roots").is_some_and(Value::is_object);
                self.roots.send_replace(if offers { Roots::Offered } else { Roots::No });
                Heard::Nothing
            }
            Some("notifications/initialized" | "notifications/roots/list_changed")
                if *self.roots.borrow() != Roots::No =>
            {
                self.roots.send_replace(Roots::Asked);
                Heard::Ask(json!({ "jsonrpc": "2.0", "id": ROOTS_ID, "method": "roots/list" }))
            }
            None if message.get("id").is_some_and(|id| id == ROOTS_ID) => {
                let roots = message.pointer("/result/roots").and_then(Value::as_array);
                let mut paths = roots.into_iter().flatten().filter_map(|root| path_of(root.get("uri")?.as_str()?));
                let first = paths.find(|path| path.is_dir());
                self.roots.send_replace(first.map_or(Roots::No, Roots::Told));
                Heard::Answer
            }
            _ => Heard::Nothing,
        }
    }

    /// The parameters that say the session's project to the node.
    pub(super) async fn parameters(&self) -> String {
        if !self.follows {
            return parameters(self.named.as_ref());
        }
        let mut roots = self.roots.subscribe();
        let settled = roots.wait_for(|roots| !matches!(roots, Roots::Asked));
        let root = match tokio::time::timeout(ROOTS_TIMEOUT, settled).await {
            Ok(Ok(roots)) => match &*roots {
                Roots::Told(path) => Some(path.clone()),
                _ => None,
            },
            _ => {
                // a client that does not answer is waited for once
                self.roots.send_if_modified(|roots| {
                    let silent = *roots == Roots::Asked;
                    if silent {
                        *roots = Roots::Offered;
                    }
                    silent
                });
                None
            }
        };
        let mut known = self.known.lock().await;
        if let Some((of, parameters)) = &*known
            && *of == root
        {
            return parameters.clone();
        }
        let at = root.clone();
        let found = tokio::task::spawn_blocking(move || {
            let directory = at.or_else(directory)?;
            let place = place_of(&directory, GIT_TIMEOUT)?;
            Some(ProjectChoice::At(with_commits(place, &directory, GIT_TIMEOUT_MORE)))
        });
        let found = found.await.ok().flatten();
        let parameters = parameters(found.as_ref());
        *known = Some((root, parameters.clone()));
        parameters
    }
}

/// The meaning of a client's message for the session.
pub(super) enum Heard {
    Nothing,
    /// The question for roots.
    Ask(Value),
    /// The answer to it.
    Answer,
}

/// The path of a `file:` address.
fn path_of(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let path = &rest[rest.find('/')?..];
    let (mut bytes, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.as_bytes().get(at) {
        let escaped = (*byte == b'%').then(|| path.as_bytes().get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits).ok()) {
            Some(decoded) => {
                bytes.extend(decoded);
                at += 3;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    // `/C:/shop` is a path of Windows
    let is_drive = text.as_bytes().get(2) == Some(&b':') && cfg!(windows);
    Some(PathBuf::from(if is_drive { &text[1..] } else { &text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_path_and_nothing_else_is() {
        let path = |uri| path_of(uri).map(|path| path.display().to_string());
        assert_eq!(path("file:///a/b%20c/%C3%A9").as_deref(), Some("/a/b c/é"));
        assert_eq!(path("file://localhost/a").as_deref(), Some("/a"));
        assert_eq!(path("file:///a%2").as_deref(), Some("/a%2"));
        for none in ["https://a/b", "file://", "file://host", "file:///%ff", "", "/a"] {
            assert_eq!(path(none), None, "{none}");
        }
    }
}
