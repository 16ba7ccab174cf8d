//! Two honest nodes, and a third member that attacks them: the honest work for each second of their processor, beside
//! the same work of two nodes without an attacker.
//!
//! ```console
//! cargo build --release -p nexus-node-cli -p nexus-hostile
//! target/release/nexus-hostile measure [--rounds 5] [--writes 10000] [--only KIND,…]
//! ```
//!
//! The attacker is a process of its own (`nexus-hostile attack`) with the credentials of a member. It takes half a
//! core: it measures its own processor time and sleeps ([`pace`]).

#![allow(clippy::disallowed_methods, reason = "a bench measures the machine that it runs on")]

mod attack;
mod honest;
mod measure;
mod pace;
mod rogue;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// The reason why a command did not succeed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The `--name value` pairs of a command.
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut pairs = BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            pairs.insert(name.trim_start_matches("--").to_owned(), value);
        }
        Ok(Self(pairs))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.text(name).ok_or_else(|| format!("--{name} is missing"))?)
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, Failure> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => Ok(text.parse().map_err(|_| format!("--{name} {text}: no such number"))?),
        }
    }
}

/// A text of about 250 bytes: 40 of 2,025 words, other ones for each number.
pub(crate) fn text(n: usize) -> String {
    const ENDS: [&str; 5] = ["n", "l", "rt", "sk", "m"];
    const STARTS: [&str; 9] = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo"];
    let mut random = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |of: &[&'static str]| {
        // xorshift64 (Marsaglia)
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        of[usize::try_from(random >> 33).unwrap_or_default() % of.len()]
    };
    let words = (0..40).map(|_| [next(&STARTS), next(&ENDS), next(&STARTS), next(&ENDS)].concat());
    words.collect::<Vec<_>>().join(" ")
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = Args::read(words).and_then(|args| match command.as_str() {
        "measure" => measure::run(&args),
        "attack" => attack::run(&args),
        _ => Err("commands: measure, attack".into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "nexus-hostile: {error}");
            ExitCode::FAILURE
        }
    }
}
