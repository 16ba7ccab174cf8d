use std::collections::BTreeMap;

use clap::Subcommand;
use nexus_node::api::{Problem, wire};

use crate::output::{Style, Table};
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
                    let mut table = Table::new(["KEY", "VALUE", "ORIGIN", "TAKES EFFECT"]);
                    for setting in &settings {
                        let origin = if setting.origin == "default" { Style::Dim } else { Style::Bold };
                        let live = if setting.live { "at once" } else { "at the next start" };
                        table.row([
                            (setting.key.clone(), None),
                            (setting.value.to_string(), None),
                            (setting.origin.clone(), Some(origin)),
                            (live.to_owned(), Some(Style::Dim)),
                        ]);
                    }
                    table.show(&session.printer)
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
