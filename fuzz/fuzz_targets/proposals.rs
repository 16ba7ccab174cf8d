//! The program of the target `proposals`: see `fuzz/README.md`.

nexus_fuzz::target!("proposals");
