//! The program of the target `audit_page`: see `fuzz/README.md`.

nexus_fuzz::target!("audit_page");
