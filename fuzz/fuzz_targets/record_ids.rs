//! The program of the target `record_ids`: see `fuzz/README.md`.

nexus_fuzz::target!("record_ids");
