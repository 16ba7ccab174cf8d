//! The banner of a ready node: its identity and addresses, and the next commands.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nexus_mesh::Multiaddr;
use nexus_mesh::multiaddr::Protocol;
use nexus_node::Node;

use super::door::Doors;
use crate::output::{Style, sane};
use crate::session::CliSession;

/// The most addresses of this machine that are shown.
const SHOWN_MAX: usize = 3;

pub(super) fn text(node: &Node, doors: &Doors, session: &CliSession) -> String {
    let printer = &session.printer;
    let program = session.program();
    let addresses = node.listen_addresses();
    let name = printer.paint(Style::Bold, &sane(&node.name().to_string()));
    let rows = [
        ("node", format!("{name}  {}", node.did())),
        ("mesh", mesh(node)),
        ("api", api(doors)),
        ("listening", listening(&addresses)),
        ("page", format!("`{program} web` prints the link to it")),
        ("invite", format!("`{program} invite` lets another machine in")),
        ("ready", "Ctrl-C stops it".to_owned()),
    ];
    let lines = rows.map(|(label, text)| format!("{}{text}", printer.paint(Style::Dim, &format!("{label:<10}"))));
    lines.join("\n")
}

/// The addresses of the API and of the metrics. Whoever is told to use TLS needs the DID above.
fn api(doors: &Doors) -> String {
    let metrics = doors.metrics.as_ref().map(|metrics| format!(", metrics at {}", metrics.url())).unwrap_or_default();
    format!("{}{metrics}", doors.api.url())
}

/// The number of members. A wrong number shows a person that the directory is another one.
fn mesh(node: &Node) -> String {
    match node.members().len() {
        0 | 1 => "this node alone so far".to_owned(),
        members => format!("{members} members"),
    }
}

/// The ports, for a firewall, and this machine's addresses.
fn listening(addresses: &[Multiaddr]) -> String {
    let (mut ports, mut hosts) = (BTreeSet::new(), Vec::new());
    for address in addresses {
        let mut parts = address.iter();
        let ip = match parts.next() {
            Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
            Some(Protocol::Ip6(ip)) => IpAddr::V6(ip),
            _ => continue,
        };
        match parts.next() {
            Some(Protocol::Udp(port)) => ports.insert(format!("UDP {port}")),
            Some(Protocol::Tcp(port)) => ports.insert(format!("TCP {port}")),
            _ => continue,
        };
        // A link-local address means nothing without its interface.
        let of_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !ip.is_loopback() && !of_link && !hosts.contains(&ip.to_string()) {
            hosts.push(ip.to_string());
        }
    }
    if ports.is_empty() {
        return "nowhere: this node only dials".to_owned();
    }
    let ports: Vec<String> = ports.into_iter().rev().collect();
    let more = hosts.len().saturating_sub(SHOWN_MAX);
    hosts.truncate(SHOWN_MAX);
    let places = match (hosts.is_empty(), more) {
        (true, _) => "this machine alone".to_owned(),
        (false, 0) => hosts.join(", "),
        (false, more) => format!("{} and {more} more", hosts.join(", ")),
    };
    format!("{} on {places}", ports.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: &[&str]) -> String {
        let addresses: Vec<Multiaddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        listening(&addresses)
    }

    #[test]
    fn ports_and_places_are_told_once() {
        let both = [
            "/ip4/127.0.0.1/udp/4002/quic-v1",
            "/ip4/192.0.2.2/udp/4002/quic-v1",
            "/ip6/fe80::1/udp/4002/quic-v1",
            "/ip4/192.0.2.2/tcp/4002",
            "/ip6/fd00::2/tcp/4002",
        ];
        assert_eq!(shown(&both), "UDP 4002, TCP 4002 on 192.0.2.2, fd00::2");
        assert_eq!(shown(&["/ip4/127.0.0.1/tcp/7"]), "TCP 7 on this machine alone");
        assert_eq!(shown(&[]), "nowhere: this node only dials");
        let many = ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.3/tcp/1", "/ip4/10.0.0.4/tcp/1"];
        assert_eq!(shown(&many), "TCP 1 on 10.0.0.1, 10.0.0.2, 10.0.0.3 and 1 more");
    }
}
