//! The program of the target `text`: see `fuzz/README.md`.

nexus_fuzz::target!("text");
