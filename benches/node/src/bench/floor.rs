//! The machine's own speed, measured beside our figures.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nexus_identity::{Domain, Keypair};
use nexus_node::api::Problem;
use nexus_node::internals::store::{Batch, Store, StoreOptions, Table};
use tokio::time::Instant;

use super::rows::quantile;

fn failed(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new("failed", format!("{what}: {error}"))
}

/// Rows of 300 bytes a second through the bare store, `rows` to a commit.
pub(super) fn store_rows(rows: usize) -> Result<f64, Problem> {
    let dir = tempfile::tempdir().map_err(|error| failed("temporary directory", error))?;
    let store = Store::open(dir.path().join("floor.redb"), StoreOptions::default());
    let store = store.map_err(|error| failed("floor", error))?;
    let (start, mut written) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(2) {
        let mut batch = Batch::new();
        for _ in 0..rows {
            written += 1;
            batch.put(Table::Payloads, &written.to_be_bytes(), &[7; 300]);
        }
        store.commit(&[batch]).map_err(|error| failed("floor", error))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(written as f64 / start.elapsed().as_secs_f64())
}

/// Signature checks a second on one core.
pub(super) fn verifications() -> f64 {
    let key = Keypair::from_seed(&[1; 32]);
    let (did, signature) = (key.did(), key.sign(Domain::Entry, &[2; 32]));
    let (start, mut checked) = (Instant::now(), 0.0);
    while start.elapsed() < Duration::from_millis(500) {
        for _ in 0..100 {
            std::hint::black_box(did.verify(Domain::Entry, std::hint::black_box(&[2; 32]), &signature)).ok();
        }
        checked += 100.0;
    }
    checked / start.elapsed().as_secs_f64()
}

/// Milliseconds, median and 95th percentile, of the floor of every replicated write: a small write
/// synced twice, and a round trip over loopback.
pub(super) fn two_syncs_and_a_round_trip() -> Result<(f64, f64), Problem> {
    let file = tempfile::tempfile().map_err(|error| failed("temporary file", error))?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed("loopback", error))?;
    let address = listener.local_addr().map_err(|error| failed("loopback", error))?;
    let echo = std::thread::Builder::new().spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
    });
    let echo = echo.map_err(|error| failed("thread", error))?;
    let mut stream = TcpStream::connect(address).map_err(|error| failed("loopback", error))?;
    stream.set_nodelay(true).map_err(|error| failed("loopback", error))?;
    let mut samples = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        for _ in 0..2 {
            (&file).write_all(&[7; 512]).and_then(|()| file.sync_data()).map_err(|error| failed("floor", error))?;
        }
        let mut byte = [1];
        stream
            .write_all(&byte)
            .and_then(|()| stream.read_exact(&mut byte))
            .map_err(|error| failed("loopback", error))?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    drop(stream);
    let _ = echo.join();
    Ok((quantile(&mut samples, 0.5), quantile(&mut samples, 0.95)))
}
