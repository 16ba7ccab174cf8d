use toml_edit::{DocumentMut, Item, TomlError};

/// The ports in use last time. They are tried first, so that tickets, bookmarks and firewall rules stay
/// valid after a port was chosen freely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// QUIC.
    pub udp: Option<u16>,
    /// TCP.
    pub tcp: Option<u16>,
    /// The HTTP API.
    pub api: Option<u16>,
}

impl Ports {
    pub(super) fn to_text(self) -> String {
        let line = |(name, port): (&str, Option<u16>)| port.map(|port| format!("{name} = {port}\n"));
        [("udp", self.udp), ("tcp", self.tcp), ("api", self.api)].into_iter().filter_map(line).collect()
    }

    /// Reads a file. A value that is no port is left out.
    pub(super) fn from_text(text: &str) -> Result<Self, TomlError> {
        let document: DocumentMut = text.parse()?;
        let port = |name: &str| document.get(name).and_then(Item::as_integer)?.try_into().ok();
        Ok(Self { udp: port("udp"), tcp: port("tcp"), api: port("api") })
    }
}
