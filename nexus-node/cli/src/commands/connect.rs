//! Adds the node to other programs: an entry in the file in which each looks for MCP servers, and hooks where it
//! has some.

pub(super) mod agent_program;
mod call;
pub(super) mod entry;
pub(super) mod file;
mod former;
mod found;
pub(super) mod hooks;
mod jsonc;
pub(super) mod program_token;
pub(super) mod skill;
pub(super) mod target;
mod toml;

use std::path::PathBuf;

use clap::Args;
use nexus_node::api::Problem;
use serde_json::{Value, json};

use self::agent_program::NAME;
use self::agent_program::Scope;
use self::call::Call;
use self::file::{Plan, Written};
pub(super) use self::found::using;
use self::target::{ProgramChoice, Target};
use crate::session::CliSession;

/// The hint for a file that teaches, and that somebody changed.
const MOVE: &str = "nothing was changed; move it elsewhere, or leave --skill out";
/// The hint for a file that cannot be read.
const MEND: &str = "nothing was changed; mend it, or add the entry by hand: --print shows it";

/// Give an agent's program access to the memory
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The program; `all` takes those on this machine
    #[arg(value_enum, required = true)]
    program: ProgramChoice,
    /// Have the program also call `nexus-node hook` by itself
    #[arg(long)]
    hooks: bool,
    /// Also write the file that teaches the tools to the program's agents
    #[arg(long)]
    skill: bool,
    /// Take the place of another program's entry that is called `nexus`, too; `disconnect` gives it back
    #[arg(long)]
    replace: bool,
    /// Show the entry and its file, and write nothing
    #[arg(long)]
    print: bool,
    /// For all your projects, or for the one in the current directory
    #[arg(long, value_enum, default_value_t = Scope::User)]
    scope: Scope,
}

impl Connect {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let here = here()?;
        let all = self.program == ProgramChoice::All;
        let mut targets = self.program.targets(self.scope, &here)?;
        if all {
            found(&mut targets, session)?;
        }
        if self.hooks {
            hooked(&targets, all, session)?;
        }
        let call = Call::of(self.scope, session, &here)?;
        // Every file is read before the first one is written.
        let connections = targets.iter().map(|target| self.connection(target, &call));
        let mut connections = connections.collect::<Result<Vec<_>, _>>()?;
        for taken in connections.iter().filter(|connection| connection.replaces).map(|connection| connection.target) {
            self.may_replace(taken, session)?;
        }
        for need in &call.needs {
            session.printer.note(need);
        }
        if !self.print {
            for connection in connections.iter_mut().filter(|connection| connection.document.get("token").is_some()) {
                let made = program_token::ensure(connection.target.program.name(), session)?;
                connection.document["token"]["changed"] = made.into();
            }
        }
        let done = connections.into_iter().map(|connection| connection.make(session));
        let done = done.collect::<Result<Vec<_>, _>>()?;
        if self.scope == Scope::User && done.iter().any(|document| document["changed"] == true) {
            session.printer.note(
                "a session belongs to the project of its directory; with its first memory, members see the project's name",
            );
        }
        answer(session, all, done, |document| line(document, ["wrote", "says so already"]))
    }

    /// Works out what is to be written. `--print` reads no file, so it helps beside one that cannot be read.
    fn connection<'a>(&self, target: &'a Target, call: &Call) -> Result<Connection<'a>, Problem> {
        let (call, token) = &call.by(target.program.name());
        let entry = entry::of(target, call);
        let mut document = json!({
            "client": target.program.name(),
            "path": target.path,
            "scope": self.scope.name(),
            "name": NAME,
            "entry": entry,
            "needs": call.needs,
            "changed": false,
            "backup": null,
        });
        if let Some(file) = token {
            document["token"] = json!({ "name": target.program.name(), "path": file, "changed": false });
        }
        let internal = |error| Problem::new("internal", error);
        let hooks = target.hooks.as_ref().filter(|_| self.hooks).map(|file| (file, hooks::of(file.form, call)));
        if let Some((file, _)) = &hooks {
            document["hooks"] = json!({ "path": file.path, "changed": false, "backup": null });
        }
        if self.skill {
            document["skill"] = json!({ "path": target.skill, "changed": false, "backup": null });
        }
        if self.print {
            document["text"] = entry::put(target.format, "", &entry).map_err(internal)?.trim_end().into();
            if let Some((file, commands)) = &hooks {
                document["hooks"]["text"] = hooks::put(file.form, "", commands).map_err(internal)?.trim_end().into();
            }
            if self.skill {
                document["skill"]["text"] = skill::text().trim_end().into();
            }
            return Ok(Connection { target, replaces: false, plan: None, hooks: None, skill: None, document });
        }
        let mut replaces = false;
        let plan = Plan::of(&target.path, MEND, |file| {
            replaces = entry::held(target.format, file.text)?.is_some_and(|held| !entry::is_ours(&held));
            let text = entry::put(target.format, file.text, &entry)?;
            match hooks.as_ref().filter(|(file, _)| file.path == target.path) {
                Some((file, commands)) => hooks::put(file.form, &text, commands).map(Some),
                None => Ok(Some(text)),
            }
        })?;
        // some programs have both in one file, which is written once
        let apart = hooks.filter(|(file, _)| file.path != target.path);
        let hooks = apart.map(|(file, commands)| {
            Plan::of(&file.path, MEND, |held| hooks::put(file.form, held.text, &commands).map(Some))
        });
        let skill = self.skill.then(|| Plan::of(&target.skill, MOVE, |file| skill::put(file.text)));
        let (hooks, skill) = (hooks.transpose()?, skill.transpose()?);
        Ok(Connection { target, replaces, plan: Some(plan), hooks, skill, document })
    }

    /// Whether ours may take the place of another program's entry: by the flag, or by the person.
    fn may_replace(&self, target: &Target, session: &CliSession) -> Result<(), Problem> {
        let message = format!("{} has an entry `{NAME}` of another program", target.path.display());
        if self.replace {
            return Ok(());
        }
        if session.printer.asks() {
            return session.printer.confirm(&format!("{message}. Ours takes its place; `disconnect` gives it back."));
        }
        let hint = "nothing was changed; --replace puts ours in its place, and `disconnect` gives it back";
        Err(Problem::new("conflict", message).hint(hint))
    }
}

/// The changes that connect one program, still to be made.
struct Connection<'a> {
    target: &'a Target,
    /// Whether another program's entry is in ours' place.
    replaces: bool,
    plan: Option<Plan>,
    hooks: Option<Plan>,
    skill: Option<Plan>,
    document: Value,
}

impl Connection<'_> {
    fn make(self, session: &CliSession) -> Result<Value, Problem> {
        let mut document = self.document;
        let mut changed = false;
        if let Some(plan) = self.plan {
            changed |= noted(&mut document, plan.write()?);
            if document.get("hooks").is_some() && self.hooks.is_none() {
                document["hooks"]["changed"] = document["changed"].clone();
                document["hooks"]["backup"] = document["backup"].clone();
            }
        }
        if let Some(hooks) = self.hooks {
            changed |= noted(&mut document["hooks"], hooks.write()?);
        }
        if document["hooks"]["changed"] == true {
            let condition = self.target.hooks.as_ref().and_then(|file| file.form.condition());
            condition.inspect(|condition| session.printer.note(condition));
        }
        if let Some(skill) = self.skill {
            changed |= noted(&mut document["skill"], skill.write()?);
        }
        if changed {
            session.printer.note(&format!("restart {} to see the tools", self.target.program.title()));
        }
        Ok(document)
    }
}

/// The directory of the project.
pub(super) fn here() -> Result<PathBuf, Problem> {
    std::env::current_dir().map_err(|error| Problem::new("failed", format!("the current directory: {error}")))
}

/// Keeps the programs on this machine, and says which these are.
fn found(targets: &mut Vec<Target>, session: &CliSession) -> Result<(), Problem> {
    let titles = |found: bool| -> Vec<&str> {
        let those = targets.iter().filter(|target| target.is_here() == found);
        those.map(|target| target.program.title()).collect()
    };
    let (found, missing) = (titles(true).join(", "), titles(false).join(", "));
    if found.is_empty() {
        let none = format!("no program that could be connected was found on this machine: {missing}");
        return Err(Problem::new("not_found", none).hint("name one: `nexus-node connect claude`"));
    }
    session.printer.note(&format!("found: {found}"));
    if !missing.is_empty() {
        session.printer.note(&format!("not on this machine, and left alone: {missing}"));
    }
    targets.retain(Target::is_here);
    Ok(())
}

/// Refuses a program without known hooks; among all programs it goes without them.
fn hooked(targets: &[Target], all: bool, session: &CliSession) -> Result<(), Problem> {
    let without = targets.iter().filter(|target| target.hooks.is_none());
    let without = without.map(|target| target.program.title()).collect::<Vec<_>>().join(", ");
    if without.is_empty() {
        return Ok(());
    }
    let message = format!("no hooks are known of {without}");
    if all {
        session.printer.note(&format!("{message}: the tools work without them"));
        return Ok(());
    }
    let hint = "leave --hooks out: the tools work without them, and README.md has a line for the agent's instructions";
    Err(Problem::new("usage", message).hint(hint))
}

/// Puts the result of a change into a document; says whether there was a change.
pub(super) fn noted(document: &mut Value, written: Written) -> bool {
    document["changed"] = written.changed.into();
    document["backup"] = serde_json::to_value(written.backup).unwrap_or_default();
    written.changed
}

/// Prints the documents: a list for `all`, else the one.
pub(super) fn answer(
    session: &CliSession,
    all: bool,
    mut done: Vec<Value>,
    line: impl Fn(&Value) -> String,
) -> Result<(), Problem> {
    if all {
        return session.printer.answer(&done, || done.iter().map(&line).collect::<Vec<_>>().join("\n"));
    }
    let done = done.pop().unwrap_or_default();
    session.printer.answer(&done, || line(&done))
}

/// The result, for people: a line for each file, or with `--print` its text. The words are for a file that was
/// changed, and for one that was not.
pub(super) fn line(document: &Value, [changed, unchanged]: [&str; 2]) -> String {
    let client = document["client"].as_str().unwrap_or_default();
    let file = |file: &Value| {
        let text = |key: &str| file[key].as_str().unwrap_or_default();
        if file["text"].is_string() {
            return format!("# {}\n{}", text("path"), text("text"));
        }
        match (file["changed"].as_bool(), file["backup"].as_str()) {
            (Some(true), Some(backup)) => format!("{client}: {changed} {} (before: {backup})", text("path")),
            (Some(true), None) => format!("{client}: {changed} {}", text("path")),
            _ => format!("{client}: {} {unchanged}", text("path")),
        }
    };
    let mut lines = vec![file(document)];
    lines.extend(["hooks", "skill"].iter().filter_map(|part| document.get(*part)).map(file));
    lines.join("\n")
}
