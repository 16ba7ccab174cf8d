//! The program of the target `join_reply`: see `fuzz/README.md`.

nexus_fuzz::target!("join_reply");
