//! The program of the target `repo_message`: see `fuzz/README.md`.

nexus_fuzz::target!("repo_message");
