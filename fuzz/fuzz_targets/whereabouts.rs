//! The program of the target `whereabouts`: see `fuzz/README.md`.

nexus_fuzz::target!("whereabouts");
