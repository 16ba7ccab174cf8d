//! The program of the target `sync_frame`: see `fuzz/README.md`.

nexus_fuzz::target!("sync_frame");
