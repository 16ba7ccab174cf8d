//! The program of the target `space`: see `fuzz/README.md`.

nexus_fuzz::target!("space");
