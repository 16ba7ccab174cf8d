//! The program of the target `ticket`: see `fuzz/README.md`.

nexus_fuzz::target!("ticket");
