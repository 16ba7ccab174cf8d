//! Names of hosts that an API answers to.

use std::net::{IpAddr, SocketAddr};

use super::setting::{Setting, items, texts};
use super::value::Value;

/// Names of hosts besides the API's own address: each a DNS name or an IP address, perhaps with a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiHosts(Vec<String>);

impl ApiHosts {
    const MAX: usize = 64;
    const BYTES_MAX: usize = 253;

    /// The names, in lower case.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    fn of<'a>(mut texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let names = texts.try_fold(Vec::new(), |mut names: Vec<String>, text| {
            let name = host(text)?;
            if !names.contains(&name) {
                names.push(name);
            }
            Some(names)
        });
        names.filter(|names| names.len() <= Self::MAX).map(Self)
    }
}

/// The host of a name, without its port and without brackets.
#[cfg(any(test, feature = "http"))]
pub(crate) fn without_port(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => name.split_once(':').map_or(name, |(host, _)| host),
    }
}

/// A name as the `Host` header has it. An IPv6 address is in brackets there.
fn host(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then(|| address.to_string());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let specified = !address.is_unspecified();
        return specified.then(|| if address.is_ipv6() { format!("[{address}]") } else { address.to_string() });
    }
    let (name, port) = text.split_once(':').map_or((text.as_str(), None), |(name, port)| (name, Some(port)));
    let port =
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port));
    // `*.example.org` would let in names that others choose
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    // names whose last part is a number are addresses to some readers
    let named = name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
    (port && named && name.len() <= ApiHosts::BYTES_MAX && name.split('.').all(label)).then_some(text)
}

impl Setting for ApiHosts {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(items(texts))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(texts(value)?.into_iter())
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().cloned().map(Value::String).collect()))
    }

    fn allowed() -> String {
        format!(
            "a list of at most {} hosts such as brain.example.org, brain.example.org:8443 or 192.0.2.1, each of at most \
             {} bytes and in full: `*` stands for no name",
            Self::MAX,
            Self::BYTES_MAX
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_full_and_once() {
        let read = |texts: &[&str]| ApiHosts::from_texts(texts).map(|hosts| hosts.0.join(" "));
        assert_eq!(read(&["Brain.example.org,brain.example.org", "b:8443"]).unwrap(), "brain.example.org b:8443");
        assert_eq!(
            read(&["192.0.2.1", "2001:DB8::1", "[2001:db8::1]:7"]).unwrap(),
            "192.0.2.1 [2001:db8::1] [2001:db8::1]:7"
        );
        assert_eq!(read(&[""]).unwrap(), "");
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "*",
            "*.example.org",
            "a b",
            "http://a",
            "a/",
            "a:",
            "a:0",
            "a:065",
            "a:x",
            ".a",
            "a.",
            "a..b",
            "127.1",
            "0.0.0.0",
            &long,
        ] {
            assert!(read(&[bad]).is_none(), "{bad}");
        }
        let many: Vec<String> = (0..=ApiHosts::MAX).map(|number| format!("h{number}")).collect();
        assert!(read(&[&many.join(",")]).is_none() && read(&[&many[1..].join(",")]).is_some());
    }

    #[test]
    fn a_name_is_known_without_its_port() {
        for (name, bare) in
            [("a.b", "a.b"), ("a.b:1", "a.b"), ("[::1]", "::1"), ("[::1]:2", "::1"), ("192.0.2.1:3", "192.0.2.1")]
        {
            assert_eq!(without_port(name), bare);
        }
    }
}
