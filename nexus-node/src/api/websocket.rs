//! How a client asks for a WebSocket, and shows its token there.

use axum::http::{HeaderMap, header};

/// The subprotocol under which a WebSocket carries its token: `bearer, TOKEN`.
pub(super) const SUBPROTOCOL: &str = "bearer";

/// Whether a request asks for a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
