use std::process::{Command, Stdio};

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;

use crate::output::moment;
use crate::session::CliSession;

/// Print a link to the page of the node, good for one browser
#[derive(Debug, Args)]
pub(crate) struct Web {
    /// Open it in the browser
    #[arg(long)]
    open: bool,
}

impl Web {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let made: wire::WebLink = session.client()?.post("/v1/web", &json!({}))?;
        session.printer.answer(&made, || made.link.clone())?;
        let until = moment(&made.expires_at);
        session
            .printer
            .note(&format!("one use, until {until} UTC; whoever opens it first sees and changes everything"));
        if self.open && !open(&made.link) {
            session.printer.warning("no browser could be started", Some("open the link yourself"));
        }
        Ok(())
    }
}

/// Opens a link in the system's browser. Returns whether there is one.
fn open(link: &str) -> bool {
    let programs: &[(&str, &[&str])] = if cfg!(target_os = "macos") {
        &[("open", &[])]
    } else if cfg!(windows) {
        &[("rundll32", &["url.dll,FileProtocolHandler"])]
    } else {
        // WSL first: its own Linux rarely has a browser.
        &[("wslview", &[]), ("xdg-open", &[])]
    };
    programs.iter().any(|(program, arguments)| {
        let mut command = Command::new(program);
        command.args(*arguments).arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
