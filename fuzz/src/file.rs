//! The program of one target, for an outside fuzzer: inputs are files, or one comes on stdin. It aborts if
//! an input breaks something.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::execution::execute;
use crate::targets;

/// The `main` of a file of `fuzz_targets`.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[global_allocator]
        static ALLOCATOR: $crate::allocation::Counting = $crate::allocation::Counting;

        fn main() -> std::process::ExitCode {
            $crate::file::run($name)
        }
    };
}

/// Gives the target each file that is named, or what comes on stdin.
pub fn run(name: &str) -> ExitCode {
    let Some(target) = targets::named(name) else { return ExitCode::from(2) };
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let mut inputs = Vec::new();
    for file in &files {
        match std::fs::read(file) {
            Ok(bytes) => inputs.push(bytes),
            Err(_) => return ExitCode::from(2),
        }
    }
    if files.is_empty() {
        let mut bytes = Vec::new();
        if std::io::stdin().read_to_end(&mut bytes).is_err() {
            return ExitCode::from(2);
        }
        inputs.push(bytes);
    }
    for bytes in inputs {
        if let Err(fault) = execute(target, &bytes) {
            let _ = writeln!(std::io::stderr(), "{name}: {fault}");
            // fuzzers count signals
            std::process::abort();
        }
    }
    ExitCode::SUCCESS
}
