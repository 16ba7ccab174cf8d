//! The program of the target `page`: see `fuzz/README.md`.

nexus_fuzz::target!("page");
