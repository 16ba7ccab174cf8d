use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use nexus_mesh::Multiaddr;

use nexus_mesh::multiaddr::Protocol;

use crate::datadir::Ports;
use crate::error::{ConflictError, NodeError};

/// The default port of nodes, for QUIC (UDP) and for TCP.
const DEFAULT_PORT: u16 = 4_002;

/// The kind of an address's socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
}

/// Chooses the ports to listen on. Port 0, or a default port that is taken, becomes the last port if
/// that is free, else any free one. Any other taken port is an error.
pub(super) fn settle(addresses: &[Multiaddr], ports: &mut Ports) -> Result<Vec<Multiaddr>, NodeError> {
    addresses.iter().map(|address| settle_one(address, ports)).collect()
}

fn settle_one(address: &Multiaddr, ports: &mut Ports) -> Result<Multiaddr, NodeError> {
    let Some((ip, kind, port)) = socket_of(address) else {
        // an address without a port: the transport judges it
        return Ok(address.clone());
    };
    let kept = match kind {
        Kind::Udp => &mut ports.udp,
        Kind::Tcp => &mut ports.tcp,
    };
    if port != 0 && port != DEFAULT_PORT {
        if free_port(ip, kind, port).is_none() && exists(ip) {
            return Err(ConflictError::Port(address.clone()).into());
        }
        return Ok(address.clone());
    }
    let candidates = [(port != 0).then_some(port), *kept].into_iter().flatten();
    let mut free = candidates.filter_map(|port| free_port(ip, kind, port));
    let Some(chosen) = free.next().or_else(|| free_port(ip, kind, 0)) else {
        // no such interface (with IPv6 switched off, for example): the other addresses go on
        return Ok(address.clone());
    };
    if chosen != DEFAULT_PORT {
        *kept = Some(chosen);
    }
    Ok(address.iter().map(|part| with_port(part, chosen)).collect())
}

/// Whether an address is of a family that this machine has no address of, as where IPv6 is switched off. Its socket is
/// bound then, and names no address that it can be reached at.
pub(super) fn is_silent(address: &Multiaddr) -> bool {
    let Some((ip, ..)) = socket_of(address) else { return false };
    let own = match ip {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    ip.is_unspecified() && !exists(own)
}

fn with_port(part: Protocol<'_>, port: u16) -> Protocol<'_> {
    match part {
        Protocol::Udp(_) => Protocol::Udp(port),
        Protocol::Tcp(_) => Protocol::Tcp(port),
        other => other,
    }
}

fn socket_of(address: &Multiaddr) -> Option<(IpAddr, Kind, u16)> {
    let mut ip = None;
    for part in address {
        match part {
            Protocol::Ip4(v4) => ip = Some(IpAddr::from(v4)),
            Protocol::Ip6(v6) => ip = Some(IpAddr::from(v6)),
            Protocol::Udp(port) => return Some((ip?, Kind::Udp, port)),
            Protocol::Tcp(port) => return Some((ip?, Kind::Tcp, port)),
            _ => {}
        }
    }
    None
}

/// The port, if it can be bound now. Port 0 means any.
fn free_port(ip: IpAddr, kind: Kind, port: u16) -> Option<u16> {
    let address = SocketAddr::new(ip, port);
    let bound = match kind {
        Kind::Udp => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
        Kind::Tcp => TcpListener::bind(address).and_then(|listener| listener.local_addr()),
    };
    bound.ok().map(|address| address.port())
}

/// Whether this machine has the address.
fn exists(ip: IpAddr) -> bool {
    ip == IpAddr::from(Ipv4Addr::UNSPECIFIED) || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn port_zero_becomes_a_free_port_that_is_kept_while_it_is_free() {
        let mut ports = Ports::default();
        let asked = [address("/ip4/127.0.0.1/udp/0/quic-v1"), address("/ip4/127.0.0.1/tcp/0")];
        let first = settle(&asked, &mut ports).unwrap();
        assert!(ports.udp.is_some() && ports.tcp.is_some());
        assert_eq!(settle(&asked, &mut ports).unwrap(), first);
        let holder = TcpListener::bind(("127.0.0.1", ports.tcp.unwrap())).unwrap();
        let moved = settle(&asked, &mut ports).unwrap();
        assert_eq!(moved[0], first[0]);
        assert_ne!(moved[1], first[1]);
        drop(holder);
    }

    /// promise: Bad input | A port in use
    #[test]
    fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = address(&format!("/ip4/127.0.0.1/tcp/{}", holder.local_addr().unwrap().port()));
        assert!(matches!(settle(&[taken], &mut Ports::default()), Err(NodeError::Conflict(_))));
    }
}
