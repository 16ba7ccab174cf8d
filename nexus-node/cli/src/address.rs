//! The address of a node's API, and whether the token of a data directory may be sent there.

use std::net::IpAddr;

use ureq::http::Uri;

/// An address such as `http://127.0.0.1:8002` or `https://192.0.2.1:8002`, read by the parser of the client that dials it.
#[derive(Debug)]
pub(crate) struct ApiAddress {
    host: String,
    port: u16,
    tls: bool,
}

impl ApiAddress {
    /// None unless it is `http://` or `https://`, a host and perhaps a port, without a user and a query.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return None,
        };
        let plain = !authority.as_str().contains('@') && uri.query().is_none();
        let host = uri.host().filter(|host| plain && !host.is_empty())?;
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // `host:` has an empty port, which is no number
            None if authority.as_str().len() > host.len() => return None,
            None if tls => 443,
            None => 80,
        };
        Some(Self { host: host.trim_matches(['[', ']']).to_ascii_lowercase(), port, tls })
    }

    /// Whether it is one of TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, without brackets, and the port.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Whether both lead to the same socket.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.tls == other.tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(text: &str) -> bool {
        ApiAddress::parse(text).is_some_and(|address| address.is_local())
    }

    #[test]
    fn an_address_of_this_machine_is_local() {
        for text in ["http://127.0.0.1:8002", "http://localhost", "http://LocalHost:1/", "http://[::1]:8002/v1"] {
            assert!(is_local(text), "{text}");
        }
    }

    /// promise: Commands and API | A data directory's token goes to this machine and to its own node alone
    #[test]
    fn an_address_that_only_looks_local_is_not() {
        for text in [
            "http://127.0.0.1:1@evil.example",
            "http://127.0.0.1@evil.example:8002",
            "http://localhost:1@evil.example/",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example/127.0.0.1",
            "http://evil.example#@127.0.0.1",
            "http://127.0.0.1\\@evil.example",
        ] {
            assert!(!is_local(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_an_api_is_refused() {
        for text in
            ["", "ftp://x", "https://", "127.0.0.1:8002", "http://", "http://x:port", "http://u@x", "http://x?a"]
        {
            assert!(ApiAddress::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_host_and_its_port_tell_a_node() {
        let same = |a: &str, b: &str| ApiAddress::parse(a).unwrap().is_same(&ApiAddress::parse(b).unwrap());
        assert!(same("http://192.0.2.1:8002", "http://192.0.2.1:8002/"));
        assert!(same("https://Lap.example", "https://lap.example:443"));
        assert!(!same("https://192.0.2.1:8002", "http://192.0.2.1:8002"));
        assert!(same("http://Lap.example", "http://lap.example:80"));
        assert!(!same("http://192.0.2.1:8002", "http://192.0.2.1:8003"));
        assert!(!same("http://192.0.2.1:8002", "http://192.0.2.2:8002"));
    }
}
