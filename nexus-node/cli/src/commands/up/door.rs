//! The socket and the address of the API.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nexus_node::api::Problem;
use tokio::net::TcpListener;

use crate::holder;

/// Binds the API's address. A given address is used or refused. For port 0 or a taken default port, a
/// free port is chosen: the last one, if it is free.
pub(super) async fn open(wanted: SocketAddr, given: bool, last: Option<u16>) -> Result<TcpListener, Problem> {
    let free = SocketAddr::new(wanted.ip(), 0);
    let kept = last.map(|port| SocketAddr::new(wanted.ip(), port));
    let candidates: Vec<SocketAddr> = match (given, wanted.port()) {
        (true, 0) => kept.into_iter().chain([free]).collect(),
        (true, _) => vec![wanted],
        (false, _) => kept.into_iter().chain([wanted, free]).collect(),
    };
    let mut refused = None;
    for candidate in candidates {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::debug!(address = %candidate, "taken; another port is tried");
                refused = Some((candidate, error));
            }
            Err(error) => return Err(Problem::new("failed", format!("the API cannot listen on {candidate}: {error}"))),
        }
    }
    let (address, error) = refused.unwrap_or_else(|| (wanted, io::ErrorKind::AddrInUse.into()));
    let message = match holder::of_tcp(address) {
        Some(holder) => format!("{address} is in use by {holder}"),
        None => format!("{address} is in use: {error}"),
    };
    Err(Problem::new("in_use", message).hint("stop that one, or give another address with --api-addr"))
}

/// The address for clients on this machine.
pub(super) fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | A port in use
    #[tokio::test]
    async fn a_taken_default_moves_on_and_a_taken_choice_is_refused() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = holder.local_addr().unwrap();
        let free = open(taken, false, None).await.unwrap().local_addr().unwrap();
        assert_ne!(free.port(), taken.port());
        assert_eq!(open(taken, false, Some(free.port())).await.unwrap().local_addr().unwrap(), free);
        let any = SocketAddr::new(taken.ip(), 0);
        assert_eq!(open(any, true, Some(free.port())).await.unwrap().local_addr().unwrap(), free);
        let problem = open(taken, true, None).await.unwrap_err();
        assert_eq!((problem.code, problem.exit()), ("in_use", 7));
        #[cfg(target_os = "linux")]
        assert!(problem.message.contains(&std::process::id().to_string()), "{}", problem.message);
    }

    #[test]
    fn clients_get_an_address_they_can_use() {
        assert_eq!(url("0.0.0.0:8002".parse().unwrap()), "http://127.0.0.1:8002");
        assert_eq!(url("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(url("127.0.0.1:1".parse().unwrap()), "http://127.0.0.1:1");
    }
}
