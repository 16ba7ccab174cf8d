use std::collections::BTreeMap;

use super::*;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// Every file with its bytes.
fn bytes_in(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// promise: Store and data directory | The directory is for its owner alone; keys, token and ports stay
#[test]
fn what_was_created_opens_with_the_same_keys() {
    let home = temporary();
    let path = home.path().join("a/b/nexus");
    assert_eq!(DataDir::inspect(&path).unwrap(), Contents::Empty);
    let made = DataDir::create(&path, key(1)).unwrap();
    made.write_root(&key(2)).unwrap();
    let opened = DataDir::open(&path).unwrap();
    assert_eq!(opened.identity().did(), key(1).did());
    assert_eq!(opened.root().unwrap().unwrap().did(), key(2).did());
    assert!(opened.remove_root().unwrap());
    assert!(opened.root().unwrap().is_none());
    assert!(!opened.remove_root().unwrap());
}

/// promise: Store and data directory | The directory is for its owner alone; keys, token and ports stay
#[cfg(unix)]
#[test]
fn everything_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = temporary();
    let path = home.path().join("nexus");
    let directory = DataDir::create(&path, key(1)).unwrap();
    directory.write_root(&key(2)).unwrap();
    directory.ensure_api_token().unwrap();
    directory.write_api_url("http://127.0.0.1:8002").unwrap();
    directory.write_ports(Ports { udp: Some(4002), ..Ports::default() }).unwrap();
    let _lock = directory.lock().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in bytes_in(&path).keys() {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(directory.exposed(), Vec::<PathBuf>::new());
    fs::set_permissions(path.join(IDENTITY), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(directory.exposed(), [path.join(IDENTITY)]);
    // an empty directory that was there before
    let path = home.path().join("open");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    DataDir::create(&path, key(1)).unwrap();
    assert_eq!(mode(&path), 0o700);
}

/// promise: Bad input | A data directory that is locked
#[test]
fn a_second_node_is_refused_and_told_the_first_ones_pid() {
    let home = temporary();
    let directory = DataDir::create(&home.path().join("nexus"), key(1)).unwrap();
    let lock = directory.lock().unwrap();
    let before = bytes_in(directory.path());
    let error = directory.lock().unwrap_err();
    assert!(matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
    assert_eq!(bytes_in(directory.path()), before);
    drop(lock);
    directory.lock().unwrap();
}

#[test]
fn a_directory_with_a_node_is_not_initialized_again() {
    let home = temporary();
    DataDir::create(home.path(), key(1)).unwrap();
    let before = bytes_in(home.path());
    assert!(matches!(DataDir::create(home.path(), key(2)), Err(DataDirError::Initialized { .. })));
    assert_eq!(bytes_in(home.path()), before);
}

/// promise: Commands and API | `init` makes a node once
#[test]
fn of_many_that_start_at_once_one_makes_the_node() {
    let home = temporary();
    let path = home.path().join("nexus");
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|seed| {
                scope.spawn({
                    let path = &path;
                    move || DataDir::create(path, key(seed)).map(|made| made.identity().did())
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
    });
    assert_eq!(made, [DataDir::open(&path).unwrap().identity().did()]);
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn somebody_elses_directory_is_left_alone() {
    let home = temporary();
    fs::write(home.path().join("thesis.txt"), "draft").unwrap();
    let error = DataDir::create(home.path(), key(1)).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert!(matches!(DataDir::open(home.path()), Err(DataDirError::Foreign { .. })));
    assert_eq!(bytes_in(home.path()).len(), 1);
}

#[test]
fn a_configuration_may_be_there_before_the_node() {
    let home = temporary();
    fs::write(home.path().join(CONFIG), "").unwrap();
    assert!(matches!(DataDir::open(home.path()), Err(DataDirError::Empty { .. })));
    DataDir::create(home.path(), key(1)).unwrap();
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn a_store_without_its_key_is_damage_and_names_the_file() {
    let home = temporary();
    fs::write(home.path().join(STORE), "").unwrap();
    for error in [DataDir::open(home.path()).unwrap_err(), DataDir::create(home.path(), key(1)).unwrap_err()] {
        assert!(matches!(&error, DataDirError::Damaged { file, .. } if file.ends_with(IDENTITY)), "{error}");
    }
    assert_eq!(bytes_in(home.path()).len(), 1);
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn any_changed_character_of_a_key_is_noticed() {
    let text = key_to_text(KeyKind::Identity, &key(7)).to_string();
    let (comment, line) = text.split_once('\n').unwrap();
    for at in 0..line.trim().len() {
        let mut changed = line.trim().to_owned().into_bytes();
        changed[at] = if changed[at] == b'c' { b'd' } else { b'c' };
        let changed = format!("{comment}\n{}\n", String::from_utf8(changed).unwrap());
        assert!(key_from_text(KeyKind::Identity, &changed).is_err(), "{changed}");
        assert!(key_from_text(KeyKind::Identity, &text[..text.len() - 1 - at.max(1)]).is_err());
    }
    assert_eq!(key_from_text(KeyKind::Identity, &text.replace('\n', "\r\n")).unwrap().did(), key(7).did());
}

/// promise: Bad input | A data directory of a newer version: refused, unchanged
#[test]
fn a_key_of_another_kind_or_of_a_later_version_is_refused_as_such() {
    let text = key_to_text(KeyKind::Root, &key(7));
    assert_eq!(
        key_from_text(KeyKind::Identity, &text).unwrap_err(),
        KeyFileError::OtherKind { expected: KeyKind::Identity, found: KeyKind::Root }
    );
    let newer = text.replace("nexus-root-key-1", "nexus-root-key-2");
    assert_eq!(key_from_text(KeyKind::Root, &newer).unwrap_err(), KeyFileError::TooNew { format: 2 });

    let home = temporary();
    let directory = DataDir::create(home.path(), key(1)).unwrap();
    fs::write(home.path().join(ROOT), newer).unwrap();
    assert!(matches!(directory.root(), Err(DataDirError::TooNew { format: 2, known: 1, .. })));
    fs::write(home.path().join(IDENTITY), [0xff, 0xfe]).unwrap();
    let error = DataDir::open(home.path()).unwrap_err();
    assert!(matches!(&error, DataDirError::Damaged { file, .. } if file.ends_with(IDENTITY)), "{error}");
}

/// promise: Store and data directory | The directory is for its owner alone; keys, token and ports stay
#[test]
fn token_address_and_ports_stay_across_restarts() {
    let home = temporary();
    let directory = DataDir::create(home.path(), key(1)).unwrap();
    assert!(DataDir::api_token_in(home.path()).unwrap().is_none());
    let token = directory.ensure_api_token().unwrap();
    assert_eq!(token.len(), 52);
    assert_eq!(directory.ensure_api_token().unwrap(), token);
    assert_eq!(DataDir::api_token_in(home.path()).unwrap().unwrap(), token);
    assert_eq!(fs::read_to_string(home.path().join(API_TOKEN)).unwrap().lines().count(), 1);

    assert_eq!(DataDir::api_url_in(home.path()).unwrap(), None);
    directory.write_api_url("http://127.0.0.1:8002").unwrap();
    assert_eq!(DataDir::api_url_in(home.path()).unwrap().as_deref(), Some("http://127.0.0.1:8002"));

    assert_eq!(directory.ports(), Ports::default());
    let ports = Ports { udp: Some(40_001), tcp: Some(40_002), api: None };
    directory.write_ports(ports).unwrap();
    assert_eq!(directory.ports(), ports);
    fs::write(home.path().join(PORTS), "udp = \"many\"").unwrap();
    assert_eq!(directory.ports(), Ports::default());
}

/// promise: Bad input | A file that can be made anew and is empty or zeroed counts as missing
#[test]
fn a_token_without_content_is_made_anew_and_a_wrong_one_is_damage() {
    let home = temporary();
    let directory = DataDir::create(home.path(), key(1)).unwrap();
    for blank in ["", "\n", " \t\n\n", "\0\0\0\0"] {
        for name in [API_TOKEN, METRICS_TOKEN, API_URL, API_DID] {
            fs::write(home.path().join(name), blank).unwrap();
        }
        assert_eq!(DataDir::api_token_in(home.path()).unwrap(), None, "{blank:?}");
        assert_eq!(DataDir::api_url_in(home.path()).unwrap(), None, "{blank:?}");
        assert_eq!(DataDir::api_did_in(home.path()).unwrap(), None, "{blank:?}");
        let token = directory.ensure_api_token().unwrap();
        assert_eq!(DataDir::api_token_in(home.path()).unwrap(), Some(token));
        directory.ensure_metrics_token().unwrap();
    }
    for wrong in ["short", "two\nlines", "\0not blank"] {
        fs::write(home.path().join(API_TOKEN), wrong).unwrap();
        assert!(matches!(directory.ensure_api_token(), Err(DataDirError::Damaged { .. })), "{wrong:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_belongs_to_the_account_of_its_key() {
    let home = temporary();
    let path = home.path().join("data");
    DataDir::create(&path, key(1)).unwrap();
    assert_eq!(DataDir::of_others(&path), Vec::<PathBuf>::new());
    DataDir::check_owner(&path).unwrap();
    DataDir::check_owner(&home.path().join("not there")).unwrap();
    let give = |path: &Path, owner| std::os::unix::fs::chown(path, Some(owner), None).is_ok();
    fs::create_dir_all(path.join("search/deep")).unwrap();
    fs::write(path.join("search/deep/segment"), "").unwrap();
    // only root gives files away
    if !give(&path.join("search/deep/segment"), 12_345) {
        return;
    }
    assert_eq!(DataDir::of_others(&path), [path.join("search/deep/segment")]);
    DataDir::check_owner(&path).unwrap();
    assert!(give(&path.join(IDENTITY), 12_345));
    for refused in [DataDir::inspect(&path).map(drop), DataDir::open(&path).map(drop), DataDir::check_owner(&path)] {
        assert!(matches!(refused, Err(DataDirError::OtherAccount { owner: 12_345, .. })), "{refused:?}");
    }
    assert!(matches!(DataDir::create(&path, key(2)), Err(DataDirError::OtherAccount { .. })));
    assert_eq!(DataDir::contents(&path).unwrap(), Contents::Node);
    assert_eq!(DataDir::open_any(&path).unwrap().identity().did(), key(1).did());
    // an empty one, too
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(give(&empty, 12_345));
    assert!(matches!(DataDir::inspect(&empty), Err(DataDirError::OtherAccount { .. })));
    assert!(matches!(DataDir::begin_restore(&empty), Err(DataDirError::OtherAccount { .. })));
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

/// promise: Store and data directory | A copied directory is noticed
#[cfg(unix)]
#[test]
fn a_copied_directory_has_another_fingerprint() {
    let home = temporary();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let original = DataDir::create(&first, key(1)).unwrap();
    fs::create_dir(&second).unwrap();
    fs::copy(first.join(IDENTITY), second.join(IDENTITY)).unwrap();
    let copy = DataDir::open(&second).unwrap();
    let fingerprint = original.fingerprint().unwrap();
    assert_eq!(DataDir::open(&first).unwrap().sign_since(&fingerprint), None);
    assert_eq!(copy.sign_since(&fingerprint), Some(CopySign::Directory));
}

/// A directory with a store and a voter's files.
#[cfg(unix)]
fn directory_with_files(path: &Path) -> DataDir {
    let directory = DataDir::create(path, key(1)).unwrap();
    for name in [STORE, RAFT, JOURNAL] {
        fs::write(path.join(name), name).unwrap();
    }
    directory
}

/// promise: Store and data directory | A backup that was put back is noticed, also in the same directory
#[cfg(unix)]
#[test]
fn a_file_that_was_put_back_is_another_file() {
    let home = temporary();
    let directory = directory_with_files(home.path());
    let fingerprint = directory.fingerprint().unwrap();
    for name in [STORE, RAFT, JOURNAL] {
        let (path, backup) = (home.path().join(name), home.path().join("backup"));
        // the way of rsync
        fs::copy(&path, &backup).unwrap();
        fs::rename(&backup, &path).unwrap();
        assert_eq!(directory.sign_since(&fingerprint), Some(CopySign::File(name)));
        let before = directory.fingerprint().unwrap();
        // the way of rm and cp, which may give the file its former number
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        if fs::metadata(&path).unwrap().created().is_ok() {
            assert_eq!(directory.sign_since(&before), Some(CopySign::File(name)));
        }
        // the next file is looked at alone
        fs::remove_file(&path).unwrap();
    }
}

/// promise: Store and data directory | A restart, a new version and files that Nexus makes itself are no restored backup
#[cfg(unix)]
#[test]
fn a_directory_that_is_used_stays_the_same() {
    let home = temporary();
    let directory = DataDir::create(home.path(), key(1)).unwrap();
    let beside = home.path().join("brain.redb.new");
    fs::write(&beside, "of a join").unwrap();
    let joined = directory.fingerprint_with(&beside).unwrap();
    directory.replace_store(&beside).unwrap();
    assert_eq!(directory.sign_since(&joined), None, "a store that is moved into its place");
    fs::write(home.path().join(RAFT), "new").unwrap();
    fs::write(home.path().join(JOURNAL), "new").unwrap();
    assert_eq!(directory.sign_since(&joined), None, "files of a first start");
    let started = directory.fingerprint().unwrap();
    for name in [STORE, RAFT, JOURNAL] {
        fs::write(home.path().join(name), "more and more").unwrap();
    }
    directory.ensure_api_token().unwrap();
    directory.write_root(&key(2)).unwrap();
    assert_eq!(DataDir::open(home.path()).unwrap().sign_since(&started), None, "files that were written to");
    fs::remove_file(home.path().join(RAFT)).unwrap();
    fs::remove_file(home.path().join(JOURNAL)).unwrap();
    assert_eq!(directory.sign_since(&started), None, "files that their owner removed");
}

/// promise: Store and data directory | A restart, a new version and files that Nexus makes itself are no restored backup
#[cfg(unix)]
#[test]
fn a_digest_of_an_earlier_version_counts_for_the_directory() {
    let home = temporary();
    let directory = directory_with_files(home.path());
    let digest = directory.earlier_fingerprint().unwrap();
    assert!(DataDir::is_earlier(&digest) && !DataDir::is_earlier(&directory.fingerprint().unwrap()));
    assert_eq!(directory.sign_since(&digest), None);
    assert_eq!(directory.sign_since(&[7; 32]), Some(CopySign::Directory));
    // a later version's bytes say nothing
    assert_eq!(directory.sign_since(&[2; 300]), None);
}

/// promise: Store and data directory | A backup that was put back is noticed, also in the same directory
#[test]
fn a_witness_keeps_the_age_of_one_directory_outside_of_it() {
    let home = temporary();
    let (data, state) = (home.path().join("data"), home.path().join("a/state"));
    let directory = DataDir::create(&data, key(1)).unwrap();
    let witness = directory.witness(&state).unwrap().unwrap();
    assert_eq!(witness.age(), None);
    witness.keep(6).unwrap();
    witness.keep(7).unwrap();
    assert_eq!(directory.witness(&state).unwrap().unwrap().age(), Some(7));
    let other = DataDir::create(&home.path().join("other"), key(1)).unwrap();
    assert_eq!(other.witness(&state).unwrap().unwrap().age(), None, "it is of one directory");
    assert!(directory.witness(&data.join("state")).unwrap().is_none(), "inside it would go back, too");
    fs::write(bytes_in(&state).into_keys().next().unwrap(), "# damaged\nx\n").unwrap();
    assert_eq!(witness.age(), None);
}

/// promise: Store and data directory | A backup that was put back is noticed, also in the same directory
#[test]
fn witnesses_are_few_and_for_their_owner_alone() {
    let home = temporary();
    let state = home.path().join("state");
    let witness = |n: u8| {
        let directory = DataDir::create(&home.path().join(n.to_string()), key(n)).unwrap();
        directory.witness(&state).unwrap().unwrap()
    };
    let used = witness(0);
    used.keep(1).unwrap();
    for n in 1..70 {
        witness(n).keep(1).unwrap();
        if n > 10 {
            fs::remove_dir_all(home.path().join(n.to_string())).unwrap();
        }
    }
    assert_eq!(bytes_in(&state).len(), 64);
    assert_eq!(used.age(), Some(1), "those of directories that are gone go first");
    assert!(!is_exposed(&state) && !bytes_in(&state).keys().any(|path| is_exposed(path)));
}

#[cfg(unix)]
#[test]
fn a_linked_directory_and_a_linked_file_stay_links() {
    let home = temporary();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let directory = DataDir::create(&link, key(1)).unwrap();
    assert_eq!(directory.sign_since(&DataDir::open(&real).unwrap().fingerprint().unwrap()), None);
    let elsewhere = home.path().join("elsewhere.toml");
    fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, real.join(CONFIG)).unwrap();
    replace(&DataDir::config_path(&link), b"mdns = false").unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mdns = false");
    assert!(real.join(CONFIG).is_symlink());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let home = temporary();
    let path = home.path().join("file");
    fs::write(&path, "").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = DataDir::create(&path, key(1)).unwrap_err();
        assert!(matches!(error, DataDirError::NotADirectory { .. }), "{error}");
    }
}

/// promise: Deleted bytes | A compaction is no restored backup, whenever it is killed, and hides none
#[cfg(unix)]
#[test]
fn a_store_that_takes_the_place_of_another_is_known_and_a_copy_stays_one() {
    let home = tempfile::tempdir().unwrap();
    let directory = DataDir::create(&home.path().join("data"), Keypair::from_seed(&[1; 32])).unwrap();
    let (store, beside) = (directory.store_path(), directory.path().join("brain.redb.compact"));
    std::fs::write(&store, "former").unwrap();
    let before = directory.fingerprint().unwrap();
    let former = std::fs::File::open(&store).unwrap();
    std::fs::write(&beside, "new").unwrap();
    let after = directory.fingerprint_after_exchange(&before, DataDir::STORE, Some(&beside)).unwrap();
    // killed before the exchange, and after it
    assert_eq!(directory.sign_since(&before), None);
    std::fs::rename(&beside, &store).unwrap();
    assert_eq!(directory.sign_since(&after), None);
    assert_eq!(directory.fingerprint().unwrap(), after);
    // a backup of either
    assert_eq!(directory.sign_since(&before), Some(CopySign::File(DataDir::STORE)));
    std::fs::write(&beside, "a backup").unwrap();
    std::fs::rename(&beside, &store).unwrap();
    assert_eq!(directory.sign_since(&after), Some(CopySign::File(DataDir::STORE)));
    std::fs::write(&beside, "of the backup").unwrap();
    assert_eq!(directory.fingerprint_after_exchange(&after, DataDir::STORE, Some(&beside)), None);
    assert_eq!(directory.fingerprint_after_exchange(PUT_BACK, DataDir::STORE, Some(&beside)), None);
    // without a place a file gives no sign
    let known = directory.fingerprint().unwrap();
    let without = directory.fingerprint_after_exchange(&known, DataDir::STORE, None).unwrap();
    std::fs::rename(&beside, &store).unwrap();
    assert_eq!(directory.sign_since(&without), None);
    drop(former);
}
