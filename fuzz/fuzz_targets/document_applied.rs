//! The program of the target `document_applied`: see `fuzz/README.md`.

nexus_fuzz::target!("document_applied");
