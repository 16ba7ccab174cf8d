//! Ports for the APIs of the demo's nodes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nexus_node::api::Problem;

use crate::listener;
use crate::output::Printer;

const DEFAULT: u16 = 8002;

/// Chooses one port for each node, in a row if they are free. A given base is used or refused.
pub(super) fn choose(base: Option<u16>, nodes: u16, printer: &Printer) -> Result<Vec<u16>, Problem> {
    let mut ports = Vec::new();
    let mut next = Some(base.unwrap_or(DEFAULT));
    while ports.len() < usize::from(nodes) {
        let port = next.ok_or_else(|| Problem::new("in_use", "there are not enough free ports"))?;
        next = port.checked_add(1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Err(error) = TcpListener::bind(address) else {
            ports.push(port);
            continue;
        };
        let by = listener::of_tcp(address).map(|holder| format!(" by {holder}")).unwrap_or_default();
        if base.is_some() {
            let hint = "leave --base-port away, and taken ports are passed over";
            return Err(Problem::new("in_use", format!("{address} is in use{by} ({error})")).hint(hint));
        }
        printer.note(&format!("port {port} is in use{by}; moving on"));
    }
    Ok(ports)
}
