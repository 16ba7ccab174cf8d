//! The program of the target `revocation`: see `fuzz/README.md`.

nexus_fuzz::target!("revocation");
