use serde::{Deserialize, Serialize};

/// The ports in use last time. They are tried first, so that tickets, bookmarks and firewall rules stay
/// valid after a port was chosen freely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ports {
    /// QUIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u16>,
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// The HTTP API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<u16>,
}
