//! The token of a connected program: made when it is connected, revoked when it is taken off.
//!
//! It gives the program's agents a name that they do not choose, and keeps them from what is their owner's. Between programs
//! of one account it is a label: each can read the files of the others.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nexus_client::wire;
use nexus_identity::{Timestamp, folded};
use nexus_node::api::Problem;
use nexus_node::api::issued::{NewToken, Scopes, TokenBook};
use nexus_node::datadir::{Contents, DataDir, DataDirError};
use serde_json::Value;

use crate::client::{Client, escape};
use crate::problems::data_dir_problem;
use crate::session::CliSession;

/// All that an agent does: it reads and writes, and changes nothing that is its owner's.
const SCOPES: [&str; 8] = ["memory", "tasks:read", "tasks:submit", "tasks:work", "kv", "locks", "blobs", "mesh:read"];

/// The looks for a token that another start of the program makes, and the time between two.
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether the node of a directory issues tokens. One of an earlier version that still runs does not.
pub(in crate::commands) fn is_issued(session: &CliSession) -> Result<bool, Problem> {
    match client(session)?.map(|client| client.get::<Vec<wire::Token>>("/v1/tokens")) {
        Some(Err(problem)) if problem.code == "no_route" => Ok(false),
        _ => Ok(true),
    }
}

/// Sees to it that a program has its token in its file. Whether it was made now.
///
/// # Errors
/// Somebody else's token has the name, or it cannot be made. Nothing has changed.
pub(in crate::commands) fn ensure(program: &str, session: &CliSession) -> Result<bool, Problem> {
    let directory = session.data_dir()?;
    let file = DataDir::program_token_path(&directory, program);
    // a file that others may read is written anew
    let held = DataDir::token_in_file(&file).ok().flatten();
    let is_own = |name: &str| folded(name) == folded(program);
    if let Some(client) = client(session)? {
        match client.get::<Vec<wire::Token>>("/v1/tokens") {
            Ok(tokens) if tokens.iter().any(|token| is_own(&token.name)) => {
                let own = held.map(|held| Client::in_directory_with(&directory, Some(held.to_string())));
                let good = own.is_some_and(|own| own.is_ok_and(|own| own.get::<wire::Status>("/v1/status").is_ok()));
                return if good { Ok(false) } else { Err(taken(program, &file)) };
            }
            Ok(_) => {
                let scopes = SCOPES.map(str::to_owned).to_vec();
                let new =
                    wire::NewToken { name: program.to_owned(), scopes, spaces: Vec::new(), ttl: None, rate: None };
                let made: wire::TokenMade = client.post("/v1/tokens", &new)?;
                let written = DataDir::write_program_token(&directory, program, &made.token);
                if written.is_err() {
                    // nobody has it
                    let _ = client.delete::<Value>(&format!("/v1/tokens/{}", escape(program)));
                }
                return written.map(|()| true).map_err(data_dir_problem);
            }
            Err(problem) if problem.code != "no_node" => return Err(problem),
            // it does not run
            Err(_) => {}
        }
    }
    let _lock = DataDir::prepare(&directory).map_err(data_dir_problem)?;
    let book = TokenBook::open(&directory);
    if book.list()?.iter().any(|token| is_own(token.name().as_str())) {
        let good = held.is_some_and(|held| book.knows(&held));
        return if good { Ok(false) } else { Err(taken(program, &file)) };
    }
    let scopes = Scopes::of(SCOPES).map_err(|error| Problem::new("internal", error.to_string()))?;
    let name = program.parse().map_err(|_| Problem::new("internal", format!("{program} is no agent's name")))?;
    let made = book.create(NewToken { name, scopes, spaces: Vec::new(), expires_at: None, rate: None }, now())?;
    let written = DataDir::write_program_token(&directory, program, &made.token);
    if written.is_err() {
        let _ = book.revoke(program);
    }
    written.map(|()| true).map_err(data_dir_problem)
}

/// The token of a program on this machine, made if there is none; `None` beside a node of an earlier version, which issues
/// none.
///
/// # Errors
/// `unauthorized` where its file cannot be used, or somebody else's token has the name.
pub(in crate::commands) fn held_or_made(program: &str, session: &CliSession) -> Result<Option<String>, Problem> {
    let file = DataDir::program_token_path(&session.data_dir()?, program);
    let held = || {
        let problem = |error: DataDirError| {
            Problem::new("unauthorized", error.to_string())
                .hint(format!("`nexus-node disconnect {program}` and `connect {program}` make another one"))
        };
        DataDir::token_in_file(&file).map(|token| token.map(|token| token.to_string())).map_err(problem)
    };
    if let Some(held) = held()? {
        return Ok(Some(held));
    }
    match ensure(program, session) {
        Ok(_) => held(),
        Err(problem) if problem.code == "no_route" => Ok(None),
        Err(problem) if problem.code == "conflict" => {
            // another start of the program may be writing it
            for _ in 0..LOOKS {
                std::thread::sleep(LOOK_EVERY);
                if let Some(held) = held()? {
                    return Ok(Some(held));
                }
            }
            Err(Problem { code: "unauthorized", ..problem })
        }
        Err(problem) => Err(problem),
    }
}

/// Revokes the token of a program, and removes its file. Whether there was one.
///
/// # Errors
/// It cannot be revoked, and is as it was.
pub(in crate::commands) fn revoke(program: &str, session: &CliSession) -> Result<bool, Problem> {
    let directory = session.data_dir()?;
    if !DataDir::program_token_path(&directory, program).exists() {
        return Ok(false);
    }
    let mut is_offline = true;
    if let Some(client) = client(session)? {
        match client.delete::<Value>(&format!("/v1/tokens/{}", escape(program))) {
            Err(problem) if problem.code == "no_node" => {}
            Err(problem) if !["not_found", "no_route"].contains(&problem.code) => return Err(problem),
            _ => is_offline = false,
        }
    }
    if is_offline && DataDir::inspect(&directory).is_ok() {
        let _lock = DataDir::prepare(&directory).map_err(data_dir_problem)?;
        match TokenBook::open(&directory).revoke(program).map_err(Problem::from) {
            Err(problem) if problem.code != "not_found" => return Err(problem),
            _ => {}
        }
    }
    DataDir::remove_program_token(&directory, program).map_err(data_dir_problem)
}

/// The owner's client of the node of a directory; `None` where none has run yet.
fn client(session: &CliSession) -> Result<Option<Client>, Problem> {
    let directory = session.data_dir()?;
    if DataDir::inspect(&directory).map_err(data_dir_problem)? == Contents::Empty {
        return Ok(None);
    }
    match Client::in_directory(&directory) {
        Ok(client) => Ok(Some(client)),
        Err(problem) if problem.code == "no_node" => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn taken(program: &str, file: &Path) -> Problem {
    let message = format!("there is a token {program} already, and {} does not hold it", file.display());
    Problem::new("conflict", message)
        .hint(format!("nothing was changed: `nexus-node token revoke {program}`, and connect again"))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
