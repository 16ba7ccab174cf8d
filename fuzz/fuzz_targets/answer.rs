//! The program of the target `answer`: see `fuzz/README.md`.

nexus_fuzz::target!("answer");
