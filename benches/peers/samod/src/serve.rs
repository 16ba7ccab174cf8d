//! A sync server of samod's: a repo that keeps documents as files, behind a WebSocket on loopback.

use anyhow::Result;
use samod::storage::TokioFilesystemStorage;
use samod::{Repo, ShareConfig, Url};
use serde_json::json;
use tokio::net::TcpListener;

use crate::socket::transport;

pub async fn run(directory: &str) -> Result<()> {
    let storage = TokioFilesystemStorage::new(directory);
    // it tells a client of no document that the client did not ask for, as automerge-repo's server does
    let quiet = ShareConfig::read_write().with_announce(false);
    let repo = Repo::build_tokio().with_storage(storage).with_share_policy(quiet).load().await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("ws://{}", listener.local_addr()?);
    let acceptor = repo.make_acceptor(Url::parse(&address)?)?;
    println!("{}", json!({ "address": address }));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
                let _ = acceptor.accept(transport(socket));
            }
        });
    }
}
