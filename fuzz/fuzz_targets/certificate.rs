//! The program of the target `certificate`: see `fuzz/README.md`.

nexus_fuzz::target!("certificate");
