use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use nexus_node::api::Problem;

use super::client::{Server, listen};

/// A bare route with always the same answer.
pub(super) async fn serve_bare(document: Vec<u8>) -> Result<(SocketAddr, Server), Problem> {
    let (listener, address) = listen().await?;
    let router = Router::new().route("/", get(move || async move { document }));
    let server = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, server))
}
