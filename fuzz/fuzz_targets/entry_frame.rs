//! The program of the target `entry_frame`: see `fuzz/README.md`.

nexus_fuzz::target!("entry_frame");
