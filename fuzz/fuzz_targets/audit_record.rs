//! The program of the target `audit_record`: see `fuzz/README.md`.

nexus_fuzz::target!("audit_record");
