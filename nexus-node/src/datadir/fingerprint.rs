use std::path::Path;

/// A digest that differs between a data directory and a copy of it: machine, device and directory.
///
/// A copy, a restored backup or a cloned disk has another digest. A node that finds another digest than
/// the one beside its store must begin a new incarnation. A false alarm costs one more log. `None`
/// where the platform has no such numbers.
pub(super) fn fingerprint(directory: &Path) -> Option<[u8; 32]> {
    let (device, inode) = place(directory)?;
    let mut hasher = blake3::Hasher::new_derive_key("nexus directory fingerprint v1");
    hasher.update(&device.to_le_bytes());
    hasher.update(&inode.to_le_bytes());
    hasher.update(machine().unwrap_or_default().trim().as_bytes());
    Some(hasher.finalize().into())
}

/// A digest of the machine's id, which does not reveal the id.
pub(super) fn machine_digest() -> Option<[u8; 32]> {
    let id = machine()?;
    Some(blake3::derive_key("nexus machine v1", id.trim().as_bytes()))
}

#[cfg(unix)]
fn place(directory: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn place(_: &Path) -> Option<(u64, u64)> {
    None
}

/// The machine's id, on platforms that keep it in a file.
fn machine() -> Option<String> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok().filter(|id| !id.trim().is_empty()))
}
