//! The process that holds a port or a data directory, if that can be told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nexus_node::api::wire;
use nexus_node::internals::datadir::DataDirError;

use crate::client::Client;
use crate::output::{sane, span};

/// The longest wait for the name of a node that has a directory.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The node that has a directory, for people. `None` if it does not answer soon, or if that is not the error.
pub(crate) fn of_directory(error: &DataDirError) -> Option<String> {
    let DataDirError::InUse { path, .. } = error else { return None };
    let node = answering(path)?;
    let pid = node.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let by = match node.started_by.as_deref() {
        Some("mcp") => " in the background by `nexus-node mcp`, for an agent,",
        Some("service") => " as a service",
        Some("up") => " with `nexus-node up`",
        _ => "",
    };
    let (name, since) = (sane(&node.name), span(node.uptime_s));
    Some(format!("the node of {} runs already: {name}{pid}, started{by} {since} ago", path.display()))
}

/// The node on a directory, if it answers soon.
pub(crate) fn answering(directory: &Path) -> Option<wire::Status> {
    Client::in_directory(directory).ok()?.patient(ASK_TIMEOUT).get("/v1/status").ok()
}

/// A process, for people: `nexus-node (process 4711)`.
#[cfg(target_os = "linux")]
pub(crate) fn of_tcp(address: SocketAddr) -> Option<String> {
    let inode = linux::listening_inode(address.port())?;
    let (pid, name) = linux::process_with(inode)?;
    Some(format!("{name} (process {pid})"))
}

/// Other platforms need more than reading files.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_tcp(_: SocketAddr) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    /// The socket that listens on a TCP port; see proc_net_tcp(5).
    pub(super) fn listening_inode(port: u16) -> Option<u64> {
        const LISTEN: &str = "0A";
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|path| fs::read_to_string(path).ok()).find_map(|table| {
            table.lines().skip(1).find_map(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                let (_, local) = fields.get(1)?.rsplit_once(':')?;
                let ours = *fields.get(3)? == LISTEN && u16::from_str_radix(local, 16) == Ok(port);
                ours.then(|| fields.get(9)?.parse().ok())?
            })
        })
    }

    /// The process that has a socket open, if this account may see it.
    pub(super) fn process_with(inode: u64) -> Option<(u32, String)> {
        let wanted = format!("socket:[{inode}]");
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
            files.find(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()))?;
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            Some((pid, name.trim().to_owned()))
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// promise: Bad input | A port in use
    #[test]
    fn the_holder_of_a_port_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_tcp(socket.local_addr().unwrap()).unwrap();
        assert!(holder.ends_with(&format!("(process {})", std::process::id())), "{holder}");
    }
}
