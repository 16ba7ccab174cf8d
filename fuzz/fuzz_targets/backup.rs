//! The program of the target `backup`: see `fuzz/README.md`.

nexus_fuzz::target!("backup");
