//! The addresses of a host's name.
//!
//! A program with all of glibc in it must not look up names by itself. glibc would load the modules that
//! `/etc/nsswitch.conf` names, and they need the very version that they were built with. Such a program asks the
//! system's own `getent`, which knows the same names as every other program there. A system without `getent` has no
//! such modules either.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::proof::Unreached;

/// Whether all of glibc is in this program.
const COMPLETE: bool = cfg!(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"));
/// The longest time of a lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Looks up names as other programs of the system do.
#[derive(Debug)]
pub(crate) struct Names {
    /// Whether the system is asked by its own program.
    ask: bool,
    here: DefaultResolver,
}

impl Default for Names {
    fn default() -> Self {
        Self { ask: COMPLETE, here: DefaultResolver::default() }
    }
}

impl Names {
    /// The addresses of a host, which has no brackets. It waits for the lookup.
    pub(crate) fn of(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if self.ask && host.parse::<IpAddr>().is_err() {
            match asked(host, LOOKUP_TIMEOUT) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                printed => return Ok(addresses(&printed?, port).collect()),
            }
        }
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if !self.ask || is_address || host.is_empty() {
            return self.here.resolve(uri, config, timeout).map_err(Unreached::mark);
        }
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        match asked(host, (*timeout.after).min(LOOKUP_TIMEOUT)) {
            Ok(printed) => {
                let mut found = self.empty();
                // as many as there is room for
                addresses(&printed, port).for_each(|address| drop(found.try_push(address)));
                if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.here.resolve(uri, config, timeout).map_err(Unreached::mark)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Error::Timeout(ureq::Timeout::Resolve)),
            Err(error) => Err(Unreached::mark(Error::Io(error))),
        }
    }
}

/// The answer of `getent`. It is empty for an unknown name.
fn asked(host: &str, patience: Duration) -> io::Result<String> {
    let mut asking = Command::new("getent");
    asking.args(["ahosts", "--", host]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = asking.spawn()?;
    let answer = read(&mut child, patience);
    // after its answer it has ended, or is about to
    let _ = child.kill();
    let _ = child.wait();
    answer
}

fn read(child: &mut Child, patience: Duration) -> io::Result<String> {
    let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
    let (answer, answered) = mpsc::channel();
    std::thread::Builder::new().name("lookup".to_owned()).spawn(move || {
        let mut printed = String::new();
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_string(&mut printed);
        // nobody waits for an answer that is late
        let _ = answer.send(read.map(|_| printed));
    })?;
    answered.recv_timeout(patience).map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}

/// The addresses in an answer, each once: `getent` has a line for each kind of socket.
fn addresses(printed: &str, port: u16) -> impl Iterator<Item = SocketAddr> {
    printed.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        (words.next()? == "STREAM").then(|| SocketAddr::new(address, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_each_address_once() {
        let printed =
            "::1             STREAM localhost\n::1             DGRAM\n127.0.0.1       STREAM\nfe80::1%eth0 STREAM\n\nx";
        let found: Vec<_> = addresses(printed, 80).map(|address| address.to_string()).collect();
        assert_eq!(found, ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(addresses("", 80).count(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_is_asked_for_a_name() {
        let names = Names { ask: true, ..Names::default() };
        let agent = ureq::Agent::new_with_defaults();
        let resolve = |uri: &str| {
            let after = ureq::unversioned::transport::time::Duration::from_secs(10);
            let timeout = NextTimeout { after, reason: ureq::Timeout::Resolve, ..NextTimeout::default() };
            names.resolve(&uri.parse().unwrap(), agent.config(), timeout)
        };
        let found = resolve("http://localhost:8002/").unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 8002), "{found:?}");
        assert_eq!(resolve("http://[::1]:7/").unwrap().len(), 1);
        for unknown in ["http://name.invalid/", "http://-x.invalid/"] {
            let error = resolve(unknown).unwrap_err();
            assert!(matches!(error, Error::HostNotFound), "{error:?}");
        }
        // without a URI, too
        let found = names.of("localhost", 8002).unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback() && address.port() == 8002));
        assert_eq!(names.of("::1", 7).unwrap(), ["[::1]:7".parse().unwrap()]);
        assert_eq!(names.of("name.invalid", 7).unwrap(), []);
    }
}
