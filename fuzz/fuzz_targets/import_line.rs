//! The program of the target `import_line`: see `fuzz/README.md`.

nexus_fuzz::target!("import_line");
