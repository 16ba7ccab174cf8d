//! The door of an API: its address, the hosts that it answers to, and whether it speaks TLS.

use std::net::SocketAddr;

use crate::config::{ApiHosts, without_port};
use crate::node::machine_name;
use crate::tls::ServerTls;

/// The door of an API.
#[derive(Clone, Debug)]
pub struct Door {
    address: SocketAddr,
    hosts: Vec<String>,
    tls: Option<ServerTls>,
    cleartext: bool,
}

impl Door {
    /// A door at an address, in the clear.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, hosts: Vec::new(), tls: None, cleartext: false }
    }

    /// Answers to further hosts. Their pages come over TLS, the node's own or a proxy's, unless `cleartext` is set.
    #[must_use]
    pub fn hosts(mut self, hosts: &ApiHosts, cleartext: bool) -> Self {
        self.hosts = hosts.names().to_vec();
        self.cleartext = cleartext;
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// The names in the certificate of a door: this machine's, its address, and the further hosts.
    pub fn names(address: SocketAddr, hosts: &ApiHosts) -> Vec<String> {
        let machine = machine_name().to_string().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let machine = (machine.len() <= 63 && machine.bytes().all(plain)).then_some(machine);
        let own = (!address.ip().is_unspecified()).then(|| address.ip().to_canonical().to_string());
        let known = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter().chain(machine).chain(own);
        let further = hosts.names().iter().map(|name| without_port(name).to_owned());
        let mut names: Vec<String> = Vec::new();
        for name in known.chain(further) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The address of the socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// TLS of its connections, if it speaks it.
    pub(super) fn tls_of(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Whether other machines reach it without TLS.
    pub(super) fn is_exposed(&self) -> bool {
        self.tls.is_none() && !self.address.ip().to_canonical().is_loopback()
    }

    /// The URL's scheme of its own address.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The address to use instead of a host that it does not answer to.
    pub(super) fn advice(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.address.port())
    }

    /// The scheme by which a `Host` is reached, or none for a host that it does not answer to. `local` is the address
    /// at which the connection was taken: a socket on all addresses answers to each of them.
    pub(super) fn knows(&self, host: &str, local: Option<SocketAddr>) -> Option<&'static str> {
        let is = |name: &str| self.is_host(host, name);
        let own = !self.address.ip().is_unspecified() && is(&ip_host(self.address));
        let taken = local.is_some_and(|local| is(&ip_host(local)));
        if own || taken || ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| is(name)) {
            return Some(self.scheme());
        }
        let named = self.hosts.iter().any(|name| {
            let given = name.eq_ignore_ascii_case(host);
            let bare = without_brackets_port(name);
            given || (bare == name && self.at_port(host, name))
        });
        let clear = self.tls.is_none() && self.cleartext;
        named.then_some(if clear { "http" } else { "https" })
    }

    /// Whether a `Host` is this name at this door's port. The default port of the scheme may be left out.
    fn is_host(&self, host: &str, name: &str) -> bool {
        let default = if self.tls.is_some() { 443 } else { 80 };
        self.at_port(host, name) || (self.address.port() == default && host.eq_ignore_ascii_case(name))
    }

    fn at_port(&self, host: &str, name: &str) -> bool {
        let Some((head, port)) = host.rsplit_once(':') else { return false };
        head.eq_ignore_ascii_case(name) && port == self.address.port().to_string()
    }
}

/// An address without its port, as `Host` has it. An IPv4 address that came over IPv6 is IPv4.
fn ip_host(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A host as it is in `Host`, without its port.
fn without_brackets_port(name: &str) -> &str {
    if name.ends_with(']') { name } else { name.rsplit_once(':').map_or(name, |(host, _)| host) }
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Keypair, Timestamp};

    use super::*;
    use crate::config::Settings;
    use crate::tls::TlsCertificate;

    fn hosts(list: &str) -> ApiHosts {
        Settings::resolve(None, [("NEXUS_API_HOSTS".to_owned(), list.to_owned())], &[])
            .unwrap()
            .config()
            .api_hosts
            .clone()
    }

    fn with_tls(door: Door) -> Door {
        let certificate = TlsCertificate::make(&Keypair::generate(), &[], Timestamp::from_ms(1_795_163_472_000));
        door.tls(Some(ServerTls::new(&certificate.unwrap()).unwrap()))
    }

    /// promise: Commands and API | `api_hosts` names further hosts; each is compared in full, and no other is let in
    #[test]
    fn further_hosts_are_compared_in_full() {
        let named = hosts("Brain.example.org,other.example.org:8443,[2001:db8::1]");
        let door = Door::new("127.0.0.1:8002".parse().unwrap()).hosts(&named, false);
        for host in [
            "brain.example.org",
            "BRAIN.example.org:8002",
            "other.example.org:8443",
            "[2001:db8::1]",
            "[2001:db8::1]:8002",
        ] {
            assert_eq!(door.knows(host, None), Some("https"), "{host}: a proxy speaks TLS");
        }
        for host in [
            "brain.example.org:80",
            "brain.example.org:",
            "x.brain.example.org",
            "example.org",
            "other.example.org",
            "other.example.org:8002",
            "brain.example.org.",
            "brain.example.org:8002:8002",
            "2001:db8::1",
            "",
        ] {
            assert_eq!(door.knows(host, None), None, "{host}");
        }
        assert_eq!(door.knows("127.0.0.1:8002", None), Some("http"));
        let clear = Door::new("0.0.0.0:8002".parse().unwrap()).hosts(&named, true);
        assert_eq!(clear.knows("brain.example.org", None), Some("http"));
        assert!(clear.is_exposed() && !door.is_exposed());
    }

    #[test]
    fn a_door_with_tls_is_known_by_https_alone() {
        let door = with_tls(Door::new("0.0.0.0:443".parse().unwrap()));
        assert!(!door.is_exposed());
        assert_eq!(door.knows("localhost", None), Some("https"));
        assert_eq!(door.knows("192.0.2.7", None), None);
        let local = |text: &str| Some(text.parse().unwrap());
        assert_eq!(door.knows("192.0.2.7", local("192.0.2.7:443")), Some("https"));
        assert_eq!(door.knows("192.0.2.7:443", local("[::ffff:192.0.2.7]:443")), Some("https"));
        assert_eq!(door.knows("192.0.2.8:443", local("192.0.2.7:443")), None);
        assert_eq!(door.knows("localhost:80", None), None);
    }

    #[test]
    fn a_certificate_names_what_the_door_answers_to() {
        let names = Door::names("192.0.2.7:8002".parse().unwrap(), &hosts("a.example:8443,a.example,[2001:db8::1]:1"));
        for name in ["localhost", "127.0.0.1", "::1", "192.0.2.7", "a.example", "2001:db8::1"] {
            assert_eq!(names.iter().filter(|known| *known == name).count(), 1, "{name}");
        }
    }
}
