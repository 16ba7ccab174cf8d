//! The program of the target `name`: see `fuzz/README.md`.

nexus_fuzz::target!("name");
