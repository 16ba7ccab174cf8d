use clap::Subcommand;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::Value;

use crate::client::escape;
use crate::output::{Style, Table, moment, sane};
use crate::session::CliSession;

/// Tokens that name agents, and say what each may do
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token for an agent, a hook or a program, and print it this once
    Create {
        /// The agent: what is signed as `agent` of all that it writes
        #[arg(long)]
        name: String,
        /// Its scopes, with commas between: memory:read, tasks:work, a kind alone as memory, or *
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// Only this space, by name or id; may be given several times
        #[arg(long = "space", value_name = "SPACE")]
        spaces: Vec<String>,
        /// The time after which it ends [default: never]
        #[arg(long)]
        ttl: Option<wire::Span>,
        /// How often it may ask: 5, 5/s, 100/m, 1000/h [default: no bound]
        #[arg(long)]
        rate: Option<String>,
    },
    /// List the tokens, without their secrets
    List,
    /// Make a token worthless, and end what it opened
    Revoke {
        /// The agent's name
        name: String,
    },
}

impl Token {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        match self {
            Self::Create { name, scopes, spaces, ttl, rate } => {
                let new = wire::NewToken { name, scopes, spaces, ttl, rate };
                let made: wire::TokenMade = client.post("/v1/tokens", &new)?;
                session.printer.answer(&made, || made.token.clone())?;
                session.printer.note(&format!(
                    "this is shown once; keep it in a file of mode 600: `--token-file FILE` or NEXUS_TOKEN_FILE uses it, and \
                     what it writes is signed as {}",
                    sane(&made.made.name)
                ));
                Ok(())
            }
            Self::List => {
                let tokens: Vec<wire::Token> = client.get("/v1/tokens")?;
                session.printer.answer(&tokens, || {
                    if tokens.is_empty() {
                        return "no tokens; `nexus-node token create` makes one".to_owned();
                    }
                    let mut table = Table::new(["NAME", "SCOPES", "SPACES", "RATE", "MADE", "EXPIRES"]);
                    for token in &tokens {
                        let spaces = if token.spaces.is_empty() { "all".to_owned() } else { token.spaces.join(", ") };
                        table.row([
                            (token.name.clone(), Some(Style::Bold)),
                            (token.scopes.join(", "), None),
                            (spaces, None),
                            (token.rate.clone().unwrap_or_else(|| "-".to_owned()), None),
                            (moment(&token.created_at), None),
                            (token.expires_at.as_deref().map_or_else(|| "never".to_owned(), moment), None),
                        ]);
                    }
                    table.show(&session.printer)
                })
            }
            Self::Revoke { name } => {
                let revoked: Value = client.delete(&format!("/v1/tokens/{}", escape(&name)))?;
                session.printer.answer(&revoked, || format!("the token {} is good no more", sane(&name)))
            }
        }
    }
}
