//! The program of the target `envelope`: see `fuzz/README.md`.

nexus_fuzz::target!("envelope");
