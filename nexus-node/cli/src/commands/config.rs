use std::collections::BTreeMap;

use clap::Subcommand;
use nexus_node::api::{Problem, wire};

use crate::output::{Printer, Style, sane, wrapped};
use crate::session::CliSession;

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
