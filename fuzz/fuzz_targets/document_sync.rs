//! The program of the target `document_sync`: see `fuzz/README.md`.

nexus_fuzz::target!("document_sync");
