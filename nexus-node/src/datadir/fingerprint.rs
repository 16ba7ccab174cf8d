use std::path::Path;

/// What tells a data directory from a copy of it: the machine, the device and the directory.
///
/// A copy, a restored backup or a cloned disk has another one. Whoever finds another one than
/// was kept beside the store must go on in a new incarnation; a false alarm costs one more log.
/// `None` where the platform has no such numbers.
pub(super) fn fingerprint(directory: &Path) -> Option<[u8; 32]> {
    let (device, inode) = place(directory)?;
    let mut hasher = blake3::Hasher::new_derive_key("nexus directory fingerprint v1");
    hasher.update(&device.to_le_bytes());
    hasher.update(&inode.to_le_bytes());
    hasher.update(machine().unwrap_or_default().trim().as_bytes());
    Some(hasher.finalize().into())
}

/// What tells one machine from another, without giving its id away.
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

/// The machine's own id, where it has one in a file.
fn machine() -> Option<String> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok().filter(|id| !id.trim().is_empty()))
}
