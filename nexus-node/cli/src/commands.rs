//! The commands, one file each.

mod agents;
mod audit;
mod backup;
mod blob;
mod compact;
mod completions;
mod config;
mod connect;
mod coordinator;
pub(crate) mod demo;
mod disconnect;
mod doc;
mod doctor;
mod edit;
mod erase;
mod export;
mod fence;
mod forget;
mod get;
mod history;
pub(crate) mod hook;
mod import;
mod init;
mod invite;
mod join;
mod key;
mod kv;
mod list;
mod lock;
mod man;
pub(crate) mod mcp;
mod members;
mod mirror;
mod model;
mod offline;
mod peers;
mod recall;
mod remember;
mod restore;
mod revoke;
mod root;
#[cfg(target_os = "linux")]
mod sandbox_exec;
mod service;
mod space;
mod status;
mod stop;
mod supersede;
mod task;
mod token;
mod up;
mod vocabulary;
mod watch;
mod web;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};
use nexus_node::api::Problem;

use crate::global::Global;
use crate::help;
use crate::session::CliSession;

/// One brain for all your agents, no server.
#[derive(Debug, Parser)]
#[command(name = "nexus-node", bin_name = "nexus-node", version, propagate_version = true)]
#[command(after_help = "Start with `nexus-node up`, or see it work: `nexus-node demo`.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// The commands, in the order of `--help`.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    Init(init::Init),
    Join(join::Join),
    Up(up::Up),
    Stop(stop::Stop),
    Demo(demo::Demo),
    Status(status::Status),
    Peers(peers::Peers),
    Members(members::Members),
    Revoke(revoke::Revoke),
    Leave(revoke::Leave),
    #[command(subcommand)]
    Key(key::Key),
    Invite(invite::Invite),
    Offline(offline::Offline),
    Online(offline::Online),
    Remember(remember::Remember),
    Recall(recall::Recall),
    Get(get::Get),
    List(list::List),
    Edit(edit::Edit),
    Supersede(supersede::Supersede),
    Forget(forget::Forget),
    Erase(erase::Erase),
    History(history::History),
    Watch(watch::Watch),
    #[command(subcommand)]
    Vocabulary(vocabulary::Vocabulary),
    Web(web::Web),
    Import(import::Import),
    Mirror(mirror::Mirror),
    Export(export::Export),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Compact(compact::Compact),
    #[command(subcommand)]
    Space(space::Space),
    #[command(subcommand)]
    Kv(kv::Kv),
    #[command(subcommand)]
    Lock(lock::Lock),
    #[command(subcommand)]
    Fence(fence::Fence),
    Coordinator(coordinator::Coordinator),
    Audit(audit::Audit),
    #[command(subcommand)]
    Task(Box<task::Task>),
    Worker(worker::Worker),
    Agents(agents::Agents),
    #[command(subcommand)]
    Blob(blob::Blob),
    #[command(subcommand)]
    Doc(doc::Doc),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Model(model::Model),
    #[command(subcommand)]
    Root(root::Root),
    Connect(connect::Connect),
    Disconnect(disconnect::Disconnect),
    #[command(subcommand)]
    Token(token::Token),
    Mcp(mcp::Mcp),
    #[command(subcommand)]
    Hook(hook::Hook),
    #[command(subcommand)]
    Service(service::Service),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    SandboxExec(sandbox_exec::SandboxExec),
    #[cfg(unix)]
    #[command(hide = true)]
    LockExec(lock::LockExec),
}

impl CliCommand {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        match self {
            Self::Init(command) => command.run(session),
            Self::Join(command) => command.run(session),
            Self::Up(command) => command.run(session),
            Self::Backup(command) => command.run(session),
            Self::Restore(command) => command.run(session),
            Self::Compact(command) => command.run(session),
            Self::Stop(command) => command.run(session),
            Self::Demo(command) => command.run(session),
            Self::Status(command) => command.run(session),
            Self::Peers(command) => command.run(session),
            Self::Members(command) => command.run(session),
            Self::Revoke(command) => command.run(session),
            Self::Leave(command) => command.run(session),
            Self::Key(command) => command.run(session),
            Self::Invite(command) => command.run(session),
            Self::Offline(command) => command.run(session),
            Self::Online(command) => command.run(session),
            Self::Remember(command) => command.run(session),
            Self::Recall(command) => command.run(session),
            Self::Get(command) => command.run(session),
            Self::List(command) => command.run(session),
            Self::Edit(command) => command.run(session),
            Self::Supersede(command) => command.run(session),
            Self::Forget(command) => command.run(session),
            Self::Erase(command) => command.run(session),
            Self::History(command) => command.run(session),
            Self::Watch(command) => command.run(session),
            Self::Vocabulary(command) => command.run(session),
            Self::Web(command) => command.run(session),
            Self::Import(command) => command.run(session),
            Self::Mirror(command) => command.run(session),
            Self::Export(command) => command.run(session),
            Self::Space(command) => command.run(session),
            Self::Doc(command) => command.run(session),
            Self::Kv(command) => command.run(session),
            Self::Lock(command) => command.run(session),
            Self::Fence(command) => command.run(session),
            Self::Coordinator(command) => command.run(session),
            Self::Audit(command) => command.run(session),
            Self::Task(command) => command.run(session),
            Self::Worker(command) => command.run(session),
            Self::Agents(command) => command.run(session),
            Self::Blob(command) => command.run(session),
            Self::Config(command) => command.run(session),
            Self::Model(command) => command.run(session),
            Self::Root(command) => command.run(session),
            Self::Connect(command) => command.run(session),
            Self::Disconnect(command) => command.run(session),
            Self::Token(command) => command.run(session),
            Self::Mcp(command) => command.run(session),
            Self::Hook(command) => command.run(session),
            Self::Service(command) => command.run(session),
            Self::Doctor(command) => command.run(session),
            Self::Completions(command) => command.run(session, Cli::command()),
            Self::Man(command) => command.run(session, help::program(Cli::command())),
            #[cfg(target_os = "linux")]
            Self::SandboxExec(command) => command.run(),
            #[cfg(unix)]
            Self::LockExec(command) => command.run(session),
        }
    }
}
