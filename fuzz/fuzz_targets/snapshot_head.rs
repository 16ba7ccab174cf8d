//! The program of the target `snapshot_head`: see `fuzz/README.md`.

nexus_fuzz::target!("snapshot_head");
