//! The program of the target `join_request`: see `fuzz/README.md`.

nexus_fuzz::target!("join_request");
