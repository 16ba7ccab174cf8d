use serde::{Deserialize, Serialize};

/// The ports that were in use last time, to be tried again first: so tickets, bookmarks and
/// firewalls stay right when a port had to be chosen freely.
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
