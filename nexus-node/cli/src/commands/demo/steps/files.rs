//! A directory goes to two nodes while the one that had it is cut off half way.

use std::fs;
use std::io::Read;
use std::path::Path;

use nexus_client::wire;
use nexus_node::api::Problem;

use crate::commands::demo::wait::until;
use crate::commands::demo::world::{CLOUD, IDE, SOON, StepResult, TERMINAL, World, claim};

/// The number of files, and the bytes of each.
const FILES: u32 = 16;
const FILE_BYTES: u32 = 512 * 1024;

/// Bytes that no two files share.
fn content(file: u32) -> Vec<u8> {
    (0..FILE_BYTES / 4).flat_map(|at| (at ^ (file << 20)).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn failed(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new("failed", format!("{}: {error}", path.display()))
}

/// Each of two nodes has half of a directory when its provider is cut off. They get the rest from each other.
pub(super) fn fetch(world: &mut World) -> StepResult {
    let source = world.stage.directory("release");
    fs::create_dir_all(&source).map_err(|error| failed(&source, &error))?;
    for file in 0..FILES {
        let path = source.join(format!("part-{file:02}.bin"));
        fs::write(&path, content(file)).map_err(|error| failed(&path, &error))?;
    }
    let path = source.to_string_lossy().into_owned();
    let added = world.stage.command(TERMINAL, &["blob", "add", &path, "--tag", "release", "--json"])?;
    let root = added["hash"].as_str().unwrap_or_default().to_owned();

    let terminal = world.node(TERMINAL)?;
    let page: wire::BlobPage = terminal.client.get("/v1/blobs?all=true&limit=1000")?;
    let parts: Vec<String> = page.items.into_iter().map(|blob| blob.hash).filter(|hash| *hash != root).collect();
    for (n, hash) in parts.iter().enumerate() {
        read(world, if n % 2 == 0 { IDE } else { CLOUD }, hash)?;
    }
    for name in [IDE, CLOUD] {
        // the list of its files alone
        read(world, name, &root)?;
    }
    world.linger();
    world.node(TERMINAL)?.switch("offline")?;
    for name in [IDE, CLOUD] {
        let target = world.stage.directory(&format!("release-at-{name}"));
        let target = target.to_string_lossy().into_owned();
        world.stage.command(name, &["blob", "get", &root, "-o", &target, "--wait", "20s", "--json"])?;
        for file in 0..FILES {
            let path = Path::new(&target).join(format!("part-{file:02}.bin"));
            let got = fs::read(&path).map_err(|error| failed(&path, &error))?;
            claim(got == content(file), || format!("{name} got another {}", path.display()))?;
        }
    }
    world.linger();
    world.node(TERMINAL)?.switch("online")?;
    until("ide and cloud are back in step with terminal", SOON, || {
        let providers = world.node(TERMINAL)?.client.get::<wire::BlobPage>("/v1/blobs")?;
        let all = providers.items.iter().find(|blob| blob.hash == root).map_or(0, |blob| blob.providers.len());
        Ok((all >= 3).then_some(()))
    })?;
    let mb = u64::from(FILES) * u64::from(FILE_BYTES) / 1_000_000;
    Ok(format!(
        "terminal was cut off when ide and cloud had half of it each; both have all {FILES} files ({mb} MB) from each other"
    ))
}

/// Reads a blob of whoever has it, to its end.
fn read(world: &World, name: &str, hash: &str) -> Result<(), Problem> {
    let mut content = Vec::new();
    let mut reader = world.node(name)?.client.bytes(&format!("/v1/blobs/{hash}?wait=20s"))?;
    reader.read_to_end(&mut content).map_err(|error| Problem::new("failed", format!("{name}: {error}")))?;
    Ok(())
}
