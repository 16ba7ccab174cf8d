//! The program of the target `document_changes`: see `fuzz/README.md`.

nexus_fuzz::target!("document_changes");
