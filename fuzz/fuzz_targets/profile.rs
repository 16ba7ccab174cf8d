//! The program of the target `profile`: see `fuzz/README.md`.

nexus_fuzz::target!("profile");
