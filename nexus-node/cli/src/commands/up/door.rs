//! The sockets and the addresses of the API and of the metrics, and their certificate.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nexus_identity::Timestamp;
use nexus_node::api::{Door, Problem};
use nexus_node::config::Config;
use nexus_node::datadir::DataDir;
use nexus_node::tls::KeptCertificate;
use nexus_node::tls::keep::LOOK_EVERY;
use tokio::net::TcpListener;

use super::settings::LiveSettings;
use crate::listener;
use crate::problems::data_dir_problem;

/// The doors of a node.
pub(super) struct Doors {
    pub(super) api: Opened,
    pub(super) metrics: Option<Opened>,
    /// The certificate, if one of them speaks TLS.
    pub(super) kept: Option<KeptCertificate>,
}

/// A door with its socket.
pub(super) struct Opened {
    pub(super) listener: TcpListener,
    pub(super) door: Door,
}

impl Opened {
    /// The address for clients on this machine.
    pub(super) fn url(&self) -> String {
        url(&self.door)
    }
}

impl Doors {
    /// Binds the addresses. Off loopback they speak TLS, unless the owner has chosen otherwise.
    pub(super) async fn open(live: &LiveSettings, data_dir: &DataDir) -> Result<Self, Problem> {
        let config = live.config();
        let api = open(config.api_addr, live.api_addr_given(), data_dir.ports().api).await?;
        let metrics = match config.metrics_addr {
            Some(address) => Some(bind(address, "--metrics-addr").await?),
            None => None,
        };
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(|error| Problem::new("failed", error.to_string()));
        let (at, metrics_at) = (address(&api)?, metrics.as_ref().map(address).transpose()?);
        let remote = |at: &SocketAddr| !at.ip().to_canonical().is_loopback();
        let outside: Vec<SocketAddr> = [Some(at), metrics_at].into_iter().flatten().filter(remote).collect();
        let kept = if outside.is_empty() || config.cleartext { None } else { Some(keep(&outside, data_dir, &config)?) };
        if config.cleartext {
            for address in &outside {
                tracing::warn!(%address, "HTTP in the clear off loopback: the network sees tokens and memories");
            }
        }
        let door = |at: SocketAddr| {
            let tls = kept.as_ref().filter(|_| remote(&at)).map(|kept| kept.tls().clone());
            Door::new(at).hosts(&config.api_hosts, config.cleartext).tls(tls)
        };
        let metrics = metrics.zip(metrics_at).map(|(listener, at)| Opened { listener, door: door(at) });
        Ok(Self { api: Opened { listener: api, door: door(at) }, metrics, kept })
    }

    /// Writes the API's address for clients, and its port for the next start.
    pub(super) fn remember(&self, data_dir: &DataDir) -> Result<(), Problem> {
        let mut ports = data_dir.ports();
        ports.api = Some(self.api.door.address().port());
        data_dir.write_ports(ports).map_err(data_dir_problem)?;
        let url = self.api.url();
        match data_dir.write_api_url(&url) {
            // clients find the address of last time, which is the same unless that port was taken
            Err(error) if error.is_full() => {
                tracing::warn!(%url, "the disk is full: clients may not find this address");
                Ok(())
            }
            written => written.map_err(data_dir_problem),
        }
    }
}

/// The certificate for these addresses.
fn keep(addresses: &[SocketAddr], data_dir: &DataDir, config: &Config) -> Result<KeptCertificate, Problem> {
    let mut names: Vec<String> = Vec::new();
    for name in addresses.iter().flat_map(|address| Door::names(*address, &config.api_hosts)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    KeptCertificate::open(data_dir, names, now()).map_err(|error| {
        Problem::new("failed", error.to_string()).hint("give a loopback address with --api-addr until it can")
    })
}

/// Looks at the certificate now and then, as long as the node runs: its time may end.
pub(super) async fn renew(kept: Option<&KeptCertificate>, data_dir: &DataDir) -> Infallible {
    if kept.is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        look(kept, data_dir);
    }
}

/// Makes the certificate anew if it does not fit the time or the node's key any more, and tells this machine's clients
/// the DID.
pub(super) fn look(kept: Option<&KeptCertificate>, data_dir: &DataDir) {
    let Some(kept) = kept else { return };
    // the key in the directory may be another one by now
    let looked = DataDir::open(data_dir.path()).map_err(|error| error.to_string()).and_then(|directory| {
        kept.look(&directory, now()).map_err(|error| error.to_string())?;
        directory.write_api_did(&directory.identity().did()).map_err(|error| error.to_string())
    });
    if let Err(error) = looked {
        tracing::warn!(%error, "the certificate for TLS could not be made anew");
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

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
    Err(taken(address, &error, "--api-addr"))
}

/// Binds an address that was given with this flag.
async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => taken(address, &error, flag),
        _ => Problem::new("failed", format!("the metrics cannot listen on {address}: {error}")),
    })
}

fn taken(address: SocketAddr, error: &io::Error, flag: &str) -> Problem {
    let message = match listener::of_tcp(address) {
        Some(holder) => format!("{address} is in use by {holder}"),
        None => format!("{address} is in use: {error}"),
    };
    Problem::new("in_use", message).hint(format!("stop that one, or give another address with {flag}"))
}

/// The address for clients on this machine.
fn url(door: &Door) -> String {
    let address = door.address();
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("{}://{}", door.scheme(), SocketAddr::new(ip, address.port()))
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
        assert_eq!(bind(taken, "--metrics-addr").await.unwrap_err().exit(), 7);
        #[cfg(target_os = "linux")]
        assert!(problem.message.contains(&std::process::id().to_string()), "{}", problem.message);
    }

    #[test]
    fn clients_get_an_address_they_can_use() {
        assert_eq!(url(&Door::new("0.0.0.0:8002".parse().unwrap())), "http://127.0.0.1:8002");
        assert_eq!(url(&Door::new("[::]:80".parse().unwrap())), "http://[::1]:80");
        assert_eq!(url(&Door::new("127.0.0.1:1".parse().unwrap())), "http://127.0.0.1:1");
    }
}
