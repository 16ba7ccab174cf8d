use clap::{Args, Subcommand};
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::output::{Printer, Style, Table, count, did_in_table, sane};
use crate::session::CliSession;

/// The coordinators of keys and locks: the voters and their leader
#[derive(Debug, Args)]
pub(crate) struct Coordinator {
    #[command(subcommand)]
    change: Option<CoordinatorChange>,
}

#[derive(Debug, Subcommand)]
enum CoordinatorChange {
    /// Change the voters
    #[command(subcommand)]
    Voters(Voters),
    /// Let another voter lead
    StepDown,
    /// Begin anew from this node's copy, after the quorum is lost for good
    Recover {
        /// Accept that changes which only the lost voters had are lost
        #[arg(long, required = true)]
        i_understand: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Voters {
    /// Give a member a vote
    Add {
        /// Its DID or name
        #[arg(value_name = "DID|NAME")]
        member: String,
    },
    /// Take a voter's vote
    Remove {
        /// Its DID or name
        #[arg(value_name = "DID|NAME")]
        member: String,
    },
}

impl Coordinator {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let seen: wire::Coordinator = match self.change {
            None => client.get("/v1/coordinator")?,
            Some(CoordinatorChange::Voters(Voters::Add { member })) => {
                client.post("/v1/coordinator/voters", &wire::AddVoter { did: member })?
            }
            Some(CoordinatorChange::Voters(Voters::Remove { member })) => {
                client.delete(&format!("/v1/coordinator/voters/{}", escape(&member)))?
            }
            Some(CoordinatorChange::StepDown) => client.post("/v1/coordinator/step-down", &serde_json::json!({}))?,
            Some(CoordinatorChange::Recover { i_understand }) => {
                client.post("/v1/coordinator/recover", &wire::Recover { i_understand })?
            }
        };
        session.printer.answer(&seen, || text(&seen, &session.printer))
    }
}

fn text(seen: &wire::Coordinator, printer: &Printer) -> String {
    let Some(mode) = &seen.mode else {
        return "this node has not heard of coordinators yet; it asks the members that it meets".to_owned();
    };
    let mut lines = Vec::new();
    let mut line =
        |label: &str, text: String| lines.push(format!("{}{text}", printer.paint(Style::Dim, &format!("{label:<10}"))));
    let up = seen.voters.iter().filter(|seat| matches!(seat.state.as_str(), "leader" | "up")).count();
    line("mode", self::mode(mode, Some((up, seen.voters.len())), printer));
    let leader = seen.voters.iter().find(|seat| Some(&seat.did) == seen.leader.as_ref());
    line("leader", leader.map_or_else(|| "none".to_owned(), |seat| printer.paint(Style::Bold, &sane(&seat.name))));
    line("log", format!("term {}, {} committed, {} applied here", seen.term, seen.commit, seen.applied));
    if seen.generation > 0 {
        line("", format!("begun anew {}", count(u64::from(seen.generation), "time", "times")));
    }
    let mut table = Table::new(["NAME", "VOTE", "STATE", "DID"]);
    let seats =
        seen.voters.iter().map(|seat| (seat, "voter")).chain(seen.learners.iter().map(|seat| (seat, "learner")));
    for (seat, vote) in seats {
        let style = match seat.state.as_str() {
            "leader" | "up" => Style::Good,
            "suspect" => Style::Odd,
            _ => Style::Bad,
        };
        table.row([
            (seat.name.clone(), Some(Style::Bold)),
            (vote.to_owned(), None),
            (seat.state.clone(), Some(style)),
            (did_in_table(&seat.did), Some(Style::Dim)),
        ]);
    }
    lines.push(table.show(printer));
    if seen.one_machine {
        lines.push(format!("{} all voters run on one machine", printer.paint(Style::Odd, "warning:")));
    }
    lines.join("\n")
}

/// A mode, and its meaning, with the voters that are up and all voters.
pub(super) fn mode(mode: &str, votes: Option<(usize, usize)>, printer: &Printer) -> String {
    let voters = match votes {
        None => String::new(),
        Some((1, 1)) => ", the one voter is up".to_owned(),
        Some((up, all)) if up == all => format!(", all {all} voters are up"),
        Some((up, all)) => format!(", {up} of {all} voters {} up", if up == 1 { "is" } else { "are" }),
    };
    let (style, what) = match mode {
        "full" => (Style::Good, ""),
        "core" => (Style::Odd, ": keys and locks go on"),
        _ if votes.is_some_and(|(up, all)| up * 2 > all) => {
            (Style::Bad, ", without a leader just now: keys and locks wait, memory goes on")
        }
        _ => (Style::Bad, ", no quorum: keys and locks wait, memory goes on"),
    };
    format!("{}{voters}{what}", printer.paint(style, &mode.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_says_how_many_vote() {
        let printer = Printer::new(false, false);
        let said = |name, votes| mode(name, votes, &printer);
        assert_eq!(said("full", Some((1, 1))), "full, the one voter is up");
        assert_eq!(said("full", Some((3, 3))), "full, all 3 voters are up");
        assert_eq!(said("core", Some((2, 3))), "core, 2 of 3 voters are up: keys and locks go on");
        let none = "read only, 1 of 3 voters is up, no quorum: keys and locks wait, memory goes on";
        assert_eq!(said("read_only", Some((1, 3))), none);
        let voting = "read only, 2 of 3 voters are up, without a leader just now: keys and locks wait, memory goes on";
        assert_eq!(said("read_only", Some((2, 3))), voting);
        assert_eq!(said("full", None), "full");
    }
}
