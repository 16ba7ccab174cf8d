//! The accounts of this machine, as far as a service needs them.

use std::path::Path;

/// The account that owns a file: its number and, if the machine has a name for it, its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    name: Option<String>,
}

impl Owner {
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self::numbered(std::fs::metadata(path).ok()?.uid()))
    }

    fn numbered(uid: u32) -> Self {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self { uid, name: name_in(&accounts, uid) }
    }

    /// Its name, or the number that stands for it everywhere.
    pub(super) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// The account that runs this program.
pub(super) fn own() -> Owner {
    Owner::numbered(rustix::process::geteuid().as_raw())
}

/// The name of an account in the table of passwd(5), if it needs no escapes.
fn name_in(accounts: &str, uid: u32) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })?;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(plain);
    fits.then(|| name.to_owned())
}

/// Whether this account may write here.
pub(super) fn may_write(directory: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the owner of a directory may write in it.
pub(super) fn owner_may_write(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const ALL: u32 = 0o700;
    std::fs::metadata(directory).is_ok_and(|known| known.permissions().mode() & ALL == ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_name_if_it_is_plain_and_else_a_number() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\na b:x:7:7:::\n%u:x:8:8:::\n";
        assert_eq!(name_in(accounts, 1000).as_deref(), Some("alice"));
        for uid in [7, 8, 9] {
            assert_eq!(name_in(accounts, uid), None);
        }
        assert_eq!(Owner { uid: 7, name: None }.name(), "7");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(directory.path()).map(|owner| owner.uid), Some(own().uid));
        assert!(may_write(directory.path()) && owner_may_write(directory.path()));
    }
}
