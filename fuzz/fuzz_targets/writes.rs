//! The program of the target `writes`: see `fuzz/README.md`.

nexus_fuzz::target!("writes");
