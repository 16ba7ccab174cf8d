//! The program of the target `frames`: see `fuzz/README.md`.

nexus_fuzz::target!("frames");
