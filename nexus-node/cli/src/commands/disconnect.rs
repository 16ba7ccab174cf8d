//! Takes the node out of other programs: the entry and the hooks that `connect` adds, and nothing else.

use clap::Args;
use nexus_node::api::Problem;
use serde_json::{Value, json};

use super::connect::agent_program::NAME;
use super::connect::agent_program::Scope;
use super::connect::file::Plan;
use super::connect::hooks::HookFile;
use super::connect::target::{ProgramChoice, Target};
use super::connect::{answer, entry, here, hooks, line, noted, program_token, skill};
use crate::session::CliSession;

/// The hint for a file that cannot be read.
const MEND: &str = "nothing was changed; mend it, or take the entry `nexus` out by hand";

/// Take an agent's program off the memory
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// The program; `all` takes every one
    #[arg(value_enum, required = true)]
    program: ProgramChoice,
    /// Show what would be taken out, and write nothing
    #[arg(long)]
    print: bool,
    /// For all your projects, or for the one in the current directory
    #[arg(long, value_enum, default_value_t = Scope::User)]
    scope: Scope,
}

impl Disconnect {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let targets = self.program.targets(self.scope, &here()?)?;
        // Every file is read before the first one is written.
        let partings = targets.iter().map(|target| self.parting(target)).collect::<Result<Vec<_>, _>>()?;
        let done = partings.iter().map(|parting| self.part(parting, session)).collect::<Result<Vec<_>, _>>()?;
        answer(session, self.program == ProgramChoice::All, done, |document| {
            line(document, ["took ours out of", "has nothing of ours"])
        })
    }

    /// Works out what is to be taken out.
    fn parting<'a>(&self, target: &'a Target) -> Result<Parting<'a>, Problem> {
        let mut document = json!({
            "client": target.program.name(),
            "path": target.path,
            "scope": self.scope.name(),
            "name": NAME,
            "changed": false,
            "backup": null,
        });
        let mut shown = None;
        let plan = Plan::of(&target.path, MEND, |file| {
            if let Some(entry) = entry::ours(target.format, file.text)? {
                shown = Some(entry::put(target.format, "", &entry)?);
            }
            // some programs have both in one file
            match target.hooks.as_ref().filter(|hooks| hooks.path == target.path) {
                Some(HookFile { form, .. }) => match hooks::taken(*form, file)? {
                    Some(text) => entry::taken(target.format, &file.with(&text)),
                    None => Ok(None),
                },
                None => entry::taken(target.format, file),
            }
        })?;
        if let Some(shown) = shown.filter(|_| self.print) {
            document["text"] = shown.trim_end().into();
        }
        let mut hooks = None;
        if let Some(HookFile { path, form }) = target.hooks.as_ref().filter(|hooks| hooks.path != target.path) {
            document["hooks"] = json!({ "path": path, "changed": false, "backup": null });
            let mut shown = None;
            hooks = Some(Plan::of(path, MEND, |file| {
                let held = hooks::held(*form, file.text)?;
                if !held.is_empty() {
                    shown = Some(hooks::put(*form, "", &held)?);
                }
                hooks::taken(*form, file)
            })?);
            if let Some(shown) = shown.filter(|_| self.print) {
                document["hooks"]["text"] = shown.trim_end().into();
            }
        }
        let skill = Plan::of(&target.skill, MEND, |file| Ok(skill::taken(file.text).filter(|_| file.exists)))?;
        if skill.changes() {
            document["skill"] = json!({ "path": target.skill, "changed": false, "backup": null });
        }
        Ok(Parting { target, plan, hooks, skill, document })
    }

    fn part(&self, parting: &Parting<'_>, session: &CliSession) -> Result<Value, Problem> {
        let Parting { target, plan, hooks, skill, document } = parting;
        let mut document = document.clone();
        if self.print {
            return Ok(document);
        }
        let mut changed = noted(&mut document, plan.write()?);
        if let Some(hooks) = hooks {
            changed |= noted(&mut document["hooks"], hooks.write()?);
        }
        if skill.changes() {
            changed |= noted(&mut document["skill"], skill.write()?);
        }
        if self.scope == Scope::User && program_token::revoke(target.program.name(), session)? {
            document["token"] = json!({ "name": target.program.name(), "changed": true });
        }
        if changed {
            session.printer.note(&format!("restart {} to be rid of the tools", target.program.title()));
        }
        Ok(document)
    }
}

/// The changes that take one program off, still to be made.
struct Parting<'a> {
    target: &'a Target,
    plan: Plan,
    hooks: Option<Plan>,
    skill: Plan,
    document: Value,
}
