use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::output::{Printer, Style, moment, sane, sane_lines, short_did};
use crate::session::CliSession;

/// Show one memory
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Its id, its former id, or the key that it was given with --id
    id: String,
}

impl Get {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let (client, path) = (session.client()?, format!("/v1/memories/{}", escape(&self.id)));
        let mut memory: wire::Memory = client.get(&path)?;
        let mut lacks = None;
        if let Some(attachment) = &memory.attachment {
            match client.get(&format!("{path}?whole=true")) {
                Ok(whole) => memory = whole,
                Err(problem) => lacks = Some(rest_of(&memory, attachment, &problem)),
            }
        }
        session.printer.answer(&memory, || text(&memory, &session.printer))?;
        if let Some(lacks) = lacks {
            session.printer.note(&lacks);
        }
        Ok(())
    }
}

/// Where the rest of a text is.
fn rest_of(memory: &wire::Memory, attachment: &wire::TextAttachment, problem: &Problem) -> String {
    let (here, all) = (memory.text.len(), attachment.bytes);
    let author = memory.author_name.as_deref().unwrap_or(&memory.author);
    let why = match problem.code {
        "not_found" => format!("nobody in reach has the rest, the blob {}", attachment.blob),
        _ => problem.message.clone(),
    };
    sane(&format!("only the first {here} of {all} bytes are here; {author} wrote it: {why}"))
}

/// A memory for people: the text, then its other fields.
pub(super) fn text(memory: &wire::Memory, printer: &Printer) -> String {
    let mut lines = vec![sane_lines(&memory.text), String::new()];
    let mut line = |label: &str, text: &str| {
        lines.push(format!("{}{}", printer.paint(Style::Dim, &format!("{label:<10}")), sane(text)));
    };
    line("id", &memory.id);
    if let Some(was) = &memory.was {
        line("was", was);
    }
    line("space", &memory.space);
    line("kind", &memory.kind);
    if !memory.tags.is_empty() {
        line("tags", &memory.tags.join(", "));
    }
    if !memory.aliases.is_empty() {
        line("aliases", &memory.aliases.join(", "));
    }
    for (key, value) in &memory.meta {
        line("meta", &format!("{key}={}", plain(value)));
    }
    line("author", &author(memory));
    if let Some(from) = &memory.imported {
        // whole, since anybody can make a mesh whose DID ends alike
        line("imported", &format!("by {} of mesh {}, {}", from.name, from.mesh_did, moment(&from.created_at)));
    }
    line("created", &moment(&memory.created_at));
    if memory.updated_at != memory.created_at {
        line("updated", &moment(&memory.updated_at));
    }
    if let Some(at) = &memory.expires_at {
        line("expires", &moment(at));
    }
    if let Some(at) = &memory.valid_from {
        line("holds from", &moment(at));
    }
    if let Some(at) = &memory.valid_to {
        line("until", &moment(at));
    }
    if let Some(former) = &memory.supersedes {
        line("replaces", former);
    }
    line("version", &memory.version);
    for (field, values) in &memory.conflicts {
        lines.push(printer.paint(Style::Odd, &format!("conflict on {field}: edit it to settle")));
        for conflict in values {
            let name = conflict.author_name.clone().unwrap_or_else(|| short_did(&conflict.author));
            let who = format!("{} {}", sane(&name), moment(&conflict.at));
            lines.push(format!("  {}  {}", sane(&plain(&conflict.value)), printer.paint(Style::Dim, &who)));
        }
    }
    if memory.more {
        let more = "it has more values than are read: edit it again until this line is gone, or forget it";
        lines.push(printer.paint(Style::Odd, more));
    }
    lines.join("\n")
}

/// The author of an imported text: `by laptop of mesh …q3vX9b2L`.
pub(super) fn imported_by(from: &wire::ImportedFrom) -> String {
    format!("by {} of mesh {}", from.name, short_did(&from.mesh_did))
}

/// The author of the text that is shown, with the program and source: `laptop (nexus-node, user)`.
fn author(memory: &wire::Memory) -> String {
    let name = memory.author_name.as_deref().unwrap_or(&memory.author);
    let source = memory.source.map(wire::Source::as_str);
    let edit = memory.edited_by.as_ref().map(|_| "edit");
    let more: Vec<&str> = [memory.agent.as_deref(), source, edit].into_iter().flatten().collect();
    if more.is_empty() { name.to_owned() } else { format!("{name} ({})", more.join(", ")) }
}

/// A value in a person's form.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
