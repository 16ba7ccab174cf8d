//! The program of the target `proposal`: see `fuzz/README.md`.

nexus_fuzz::target!("proposal");
