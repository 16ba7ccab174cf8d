//! The program of the target `memory_id`: see `fuzz/README.md`.

nexus_fuzz::target!("memory_id");
