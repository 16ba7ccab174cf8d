//! The program of the target `hello`: see `fuzz/README.md`.

nexus_fuzz::target!("hello");
