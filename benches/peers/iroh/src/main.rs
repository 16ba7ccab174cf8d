//! The blobs of iroh beside ours: how fast they are, and whether each reads the other's directories.
//!
//! ```console
//! $ peers-iroh transfer DIR FILE       # store to store over loopback, in MiB/s
//! $ peers-iroh read LINKS NAMES        # the paths and hashes of a directory that we wrote
//! $ peers-iroh write LINKS NAMES PATH=HASH…    # a directory of iroh's, for us to read
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use iroh::address_lookup::MemoryLookup;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, RelayMode};
use iroh_blobs::api::downloader::Shuffled;
use iroh_blobs::format::collection::{Collection, CollectionMeta};
use iroh_blobs::hashseq::HashSeq;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["transfer", dir, file] => transfer(Path::new(dir), &std::path::absolute(file)?).await,
        ["read", links, names] => read(Path::new(links), Path::new(names)),
        ["write", links, names, files @ ..] => write(Path::new(links), Path::new(names), files),
        _ => bail!("usage: transfer DIR FILE | read LINKS NAMES | write LINKS NAMES PATH=HASH..."),
    }
}

async fn endpoint(lookup: &MemoryLookup) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled);
    Ok(builder.address_lookup(lookup.clone()).bind().await?)
}

async fn transfer(dir: &Path, file: &PathBuf) -> Result<()> {
    let lookup = MemoryLookup::new();
    let (from, to) = (FsStore::load(dir.join("from")).await?, FsStore::load(dir.join("to")).await?);
    let begin = Instant::now();
    let tag = from.blobs().add_path(file).await?;
    let added = begin.elapsed();
    let provider = Router::builder(endpoint(&lookup).await?)
        .accept(iroh_blobs::ALPN, BlobsProtocol::new(&from, None))
        .spawn();
    lookup.add_endpoint_info(provider.endpoint().addr());
    let getter = endpoint(&lookup).await?;
    let begin = Instant::now();
    let providers = Shuffled::new(vec![provider.endpoint().id()]);
    to.downloader(&getter).download(tag.hash, providers).await?;
    let fetched = begin.elapsed();
    let mib = std::fs::metadata(file)?.len() as f64 / f64::from(1 << 20);
    let document = serde_json::json!({
        "added_mib_per_second": mib / added.as_secs_f64(),
        "fetched_mib_per_second": mib / fetched.as_secs_f64(),
    });
    println!("{document}");
    provider.shutdown().await?;
    Ok(())
}

fn read(links: &Path, names: &Path) -> Result<()> {
    let links = HashSeq::new(std::fs::read(links)?.into()).context("the links are no sequence of hashes")?;
    let names: CollectionMeta = postcard::from_bytes(&std::fs::read(names)?)?;
    anyhow::ensure!(names.check_header(), "the names have another header");
    anyhow::ensure!(names.names().len() + 1 == links.len(), "there are more names than files, or fewer");
    for (name, hash) in names.names().iter().zip(links.iter().skip(1)) {
        println!("{hash} {name}");
    }
    Ok(())
}

fn write(links: &Path, names: &Path, files: &[&str]) -> Result<()> {
    let mut collection = Collection::default();
    for file in files {
        let (name, hash) = file.split_once('=').context("a file is PATH=HASH")?;
        collection.push(name.to_owned(), hash.parse::<Hash>()?);
    }
    let blobs: Vec<_> = collection.to_blobs().collect();
    std::fs::write(names, &blobs[0])?;
    std::fs::write(links, &blobs[1])?;
    Ok(())
}
