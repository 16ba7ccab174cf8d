//! A large file on its way between two processes, of which one is killed at a random moment. The transfer goes on where
//! it was, and the file is the same in the end.
//!
//! `NEXUS_KILLS=20 cargo test -p nexus-node-cli --test kills blobs::` is the long form; `NEXUS_SEED` repeats a run's
//! choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::dice::{Dice, from_env};
use crate::support::{pair, until};

const MIB: usize = 1 << 20;

/// promise: Blobs | A transfer goes on where it was after `kill -9` of either side, and what was added stays whole
#[test]
fn a_transfer_goes_on_after_a_kill_of_either_side() {
    let _alone = crate::alone();
    let kills = from_env("NEXUS_KILLS", 4);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let ((from, mut provider), (to, mut getter)) = pair();
    let (mut cut, mut kept) = (0, 0);
    for kill in 0..kills {
        let content: Vec<u8> = (0..256 * MIB as u64 / 8)
            .flat_map(|n| (n ^ kill << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let file = from.beside("file");
        fs::write(&file, &content).unwrap();
        let hash = from.json(&["blob", "add", file.to_str().unwrap()])["hash"].as_str().unwrap().to_owned();
        let got = to.beside("got");
        let mut get = to.command(&["blob", "get", &hash, "-o", got.to_str().unwrap(), "--wait", "60s"]);
        let mut getting = get.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let part = to.path().join("blobs/part").join(&hash);
        let have = part.with_extension("have");
        let is_late = dice.roll(2) == 0;
        until("parts come", || {
            let begun = if is_late { have.exists() } else { part.exists() };
            (begun || getting.try_wait().unwrap().is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(dice.roll(150)));
        let listens = (provider.listens(), getter.listens());
        if dice.roll(2) == 0 {
            provider.kill_9();
            provider = from.up_at(&listens.0);
        } else {
            getter.kill_9();
            cut += u64::from(part.exists());
            kept += u64::from(have.exists());
            getter = to.up_at(&listens.1);
        }
        getting.wait().unwrap();
        to.run(&["blob", "get", &hash, "-o", got.to_str().unwrap(), "--wait", "60s"]).ok();
        assert!(fs::read(&got).unwrap() == content, "another file came");
        assert!(!part.exists() && !have.exists(), "nothing of the transfer is left");
        for home in [&from, &to] {
            home.json(&["blob", "rm", &hash]);
        }
    }
    eprintln!("{kills} kills; {cut} of the getter in the middle, {kept} of them with parts to go on from");
}
