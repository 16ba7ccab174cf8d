//! The process that listens on a port, if that can be told.

use std::net::SocketAddr;

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
