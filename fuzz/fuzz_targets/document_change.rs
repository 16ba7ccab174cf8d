//! The program of the target `document_change`: see `fuzz/README.md`.

nexus_fuzz::target!("document_change");
