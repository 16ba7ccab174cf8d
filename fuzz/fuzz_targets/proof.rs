//! The program of the target `proof`: see `fuzz/README.md`.

nexus_fuzz::target!("proof");
