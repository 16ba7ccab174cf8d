//! The program of the target `sync_session`: see `fuzz/README.md`.

nexus_fuzz::target!("sync_session");
