//! The program of the target `beat`: see `fuzz/README.md`.

nexus_fuzz::target!("beat");
