//! The program of the target `log_entry`: see `fuzz/README.md`.

nexus_fuzz::target!("log_entry");
