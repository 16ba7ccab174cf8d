use std::collections::BTreeMap;

use clap::Subcommand;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::output::{Printer, Style, sane, wrapped};
use crate::session::CliSession;

/// The setting of the proof that approving takes.
const APPROVE_WITH: &str = "approve_with";

/// Settings of the node
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Each value with its origin
    Show,
    /// Change a value in config.toml
    Set {
        /// The key
        key: String,
        /// Its new value; commas separate the items of a list
        value: String,
    },
}

impl Config {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if let Self::Set { key, value } = &self
            && key == APPROVE_WITH
        {
            return approve_with(value, session);
        }
        let client = session.client()?;
        match self {
            Self::Show => {
                let settings: Vec<wire::Setting> = client.get("/v1/config")?;
                session.printer.answer(&settings, || {
                    settings.iter().map(|setting| shown(setting, &session.printer)).collect::<Vec<_>>().join("\n")
                })
            }
            Self::Set { key, value } => {
                let settings: Vec<wire::Setting> = client.patch("/v1/config", &BTreeMap::from([(&key, value)]))?;
                session.printer.answer(&settings, || {
                    let live = settings.iter().all(|setting| setting.live);
                    format!("{key} is set{}", if live { "" } else { "; it takes effect when the node starts again" })
                })?;
                for setting in settings.iter().filter(|setting| !["file", "default"].contains(&setting.origin.as_str()))
                {
                    let message = format!("a {} hides what the file says about {key}", setting.origin);
                    session.printer.warning(&message, None);
                }
                Ok(())
            }
        }
    }
}

/// Sets the proof that approving takes, in a person's own session. It is in no file that `config` writes.
fn approve_with(value: &str, session: &CliSession) -> Result<(), Problem> {
    if !["passphrase", "session"].contains(&value) {
        return Err(Problem::new(
            "invalid",
            format!("{APPROVE_WITH} is `session` or `passphrase`, not {}", sane(value)),
        ));
    }
    if !Printer::has_person() {
        let problem = Problem::new("refused", "a person sets this, on a terminal that asks, and nothing was changed");
        return Err(problem.hint(format!("run `nexus-node config set {APPROVE_WITH} {value}` on a terminal")));
    }
    let (client, printer) = (session.client()?, &session.printer);
    let now: wire::Approving = client.get("/v1/approving")?;
    let former = match now.approve_with.as_str() {
        "passphrase" => Some(printer.secret("the passphrase until now:")?),
        _ => None,
    };
    let passphrase = match value {
        "passphrase" => {
            let passphrase = printer.secret("passphrase:")?;
            if passphrase != printer.secret("once more:")? {
                return Err(Problem::new("invalid", "the passphrases differ").hint("nothing was changed"));
            }
            Some(passphrase)
        }
        _ => None,
    };
    let change = wire::ChangeApproving { passphrase, former };
    let now: wire::Approving = client.put_as_person("/v1/approving", &change)?;
    printer.answer(&now, || match now.approve_with.as_str() {
        "passphrase" => "approving takes the passphrase from now on, on the page and on the terminal".to_owned(),
        _ => "approving takes a session from now on, and no passphrase".to_owned(),
    })
}

/// A setting with its meaning.
fn shown(setting: &wire::Setting, printer: &Printer) -> String {
    let wire::Setting { key, value, origin, live, about } = setting;
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let style = if origin == "default" { Style::Dim } else { Style::Good };
    let origin = if origin == "default" { "(default)".to_owned() } else { format!("({origin})") };
    let head = format!("{} = {} {}", printer.paint(Style::Bold, key), sane(&value), printer.paint(style, &origin));
    let start = if *live { "" } else { " A change takes effect at the next start." };
    let lines = wrapped(&format!("{about}{start}"), "    ");
    format!("{head}\n{}", printer.paint(Style::Dim, &lines))
}
