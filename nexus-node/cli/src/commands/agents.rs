use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::output::{Printer, Style, Table, moment, short_did};
use crate::session::CliSession;

/// Show the workers that wait for work or do some, on all nodes
#[derive(Debug, Args)]
pub(crate) struct Agents;

impl Agents {
    #[expect(clippy::unused_self, reason = "each command is run alike")]
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let agents: Vec<wire::Agent> = session.client()?.get("/v1/agents")?;
        session.printer.answer(&agents, || table(&agents, &session.printer))
    }
}

/// Whether workers get work, and from when on again.
fn health(agent: &wire::Agent) -> String {
    match &agent.rest {
        Some(rest) => format!("{}, rests until {}", agent.health, moment(&rest.until)),
        None => agent.health.clone(),
    }
}

fn table(agents: &[wire::Agent], printer: &Printer) -> String {
    if agents.is_empty() {
        return "no worker is here; `nexus-node worker --capability NAME -- CMD` is one".to_owned();
    }
    let mut table = Table::new([
        "NAME",
        "NODE",
        "ROLE",
        "HEALTH",
        "WAITING",
        "RUNNING",
        "CPU",
        "MEMORY",
        "REPUTATION",
        "CAPABILITIES",
    ]);
    let percent = |used: Option<u8>| used.map_or_else(|| "-".to_owned(), |used| format!("{used} %"));
    for agent in agents {
        let capabilities: Vec<&str> = agent.capabilities.iter().map(String::as_str).collect();
        table.row([
            (agent.name.clone().unwrap_or_else(|| "-".to_owned()), Some(Style::Bold)),
            (agent.node_name.clone().unwrap_or_else(|| short_did(&agent.node)), None),
            (agent.roles.join(", "), None),
            (health(agent), Some(if agent.health == "ok" { Style::Good } else { Style::Odd })),
            (agent.waiting.to_string(), None),
            (agent.running.to_string(), (agent.running > 0).then_some(Style::Good)),
            (percent(agent.load.cpu), None),
            (percent(agent.load.memory), None),
            (format!("{:.2}", agent.reputation), None),
            (capabilities.join(", "), None),
        ]);
    }
    table.show(printer)
}
