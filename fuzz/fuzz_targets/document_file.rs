//! The program of the target `document_file`: see `fuzz/README.md`.

nexus_fuzz::target!("document_file");
