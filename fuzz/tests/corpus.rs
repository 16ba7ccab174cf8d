//! The kept inputs, and some thousands made from them, break no decoder. Planted decoders are caught.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nexus_fuzz::allocation::{Counting, measured};
use nexus_fuzz::campaign::{Broken, Campaign};
use nexus_fuzz::corpus;
use nexus_fuzz::execution::{Fault, execute};
use nexus_fuzz::mutate::{Dice, mutated};
use nexus_fuzz::targets::{Allowance, TARGETS, Target, named};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The executions of each target; `.ci/long/fuzz` makes a million.
const EXECUTIONS: u64 = 2_000;
/// The corpus is a part of the repository.
const CORPUS_BYTES_MAX: usize = 300_000;

fn kept(target: &str) -> Vec<corpus::Kept> {
    corpus::read(&corpus::folder(), target).unwrap()
}

/// promise: Bad input | Any bytes for any decoder that a stranger or a member reaches: no panic, bounded memory
#[test]
fn no_kept_input_breaks_its_decoder() {
    for target in TARGETS {
        for (name, bytes) in kept(target.name) {
            if let Err(fault) = execute(target, &bytes) {
                panic!("{} {name}: {fault}", target.name);
            }
        }
    }
}

/// promise: Bad input | Any bytes for any decoder that a stranger or a member reaches: no panic, bounded memory
#[test]
fn no_input_made_from_kept_ones_breaks_its_decoder() {
    for target in TARGETS {
        let run = |mut campaign: Campaign<'_>| campaign.run(EXECUTIONS).map(|()| campaign.tally);
        let run = Campaign::begin(target, 1, &kept(target.name)).and_then(run);
        match run {
            Ok(tally) => assert!(tally.executions >= EXECUTIONS && tally.peak_bytes > 0, "{}", target.name),
            Err(Broken { bytes, fault }) => panic!("{}: {fault}: {bytes:02x?}", target.name),
        }
    }
}

#[test]
fn each_target_has_a_program_and_kept_inputs_of_which_some_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in TARGETS {
        let program = root.join("fuzz_targets").join(target.name).with_extension("rs");
        let expected = format!(
            "//! The program of the target `{0}`: see `fuzz/README.md`.\n\nnexus_fuzz::target!(\"{0}\");\n",
            target.name
        );
        assert_eq!(std::fs::read_to_string(program).unwrap(), expected);
        let listed = format!("path = \"fuzz_targets/{}.rs\"\n", target.name);
        assert!(std::fs::read_to_string(root.join("Cargo.toml")).unwrap().contains(&listed), "{listed}");
        let read =
            kept(target.name).iter().filter(|(_, bytes)| execute(target, bytes).is_ok_and(|done| done.read)).count();
        assert!(read > 0, "{}: none of the kept inputs is read", target.name);
    }
    for folder in ["fuzz_targets", "corpus"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(named(name).is_some(), "{} is of no target", path.display());
        }
    }
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    let bytes: usize = TARGETS.iter().flat_map(|target| kept(target.name)).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes}");
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let kept = [b"one input".to_vec(), b"{\"another\":1}".to_vec()];
    let made = |seed| {
        let mut dice = Dice::of(seed, "test");
        (0..2_000).map(|_| mutated(&mut dice, &kept, 64)).collect::<Vec<_>>()
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
    assert!(made(1).iter().all(|bytes| bytes.len() <= 64));
    assert!(made(1).iter().collect::<BTreeSet<_>>().len() > 1_000);
}

/// A decoder of a length and bytes, with planted faults.
fn planted(run: fn(&[u8]) -> bool) -> Target {
    Target { name: "planted", run, allowance: Allowance { fixed: 4_096, each: 8 }, bytes_max: 256 }
}

fn broken(run: fn(&[u8]) -> bool) -> Option<Broken> {
    let (target, kept) = (planted(run), [("seed".to_owned(), b"\x03\0\0\0abc".to_vec())]);
    let campaign = Campaign::begin(&target, 1, &kept);
    campaign.and_then(|mut campaign| campaign.run(20_000)).err()
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).unwrap(), rest))
}

#[test]
fn a_decoder_that_panics_on_a_byte_is_caught_and_its_input_made_small() {
    let caught = broken(|bytes| {
        let Some((_, rest)) = length(bytes) else { return false };
        assert!(rest.get(1) != Some(&0x42), "planted");
        true
    });
    let Broken { bytes, fault } = caught.unwrap();
    assert!(
        matches!(&fault, Fault::Panicked(said) if said.contains("corpus.rs") && said.contains("planted")),
        "{fault}"
    );
    assert_eq!((bytes.len(), bytes[5]), (6, 0x42));
}

#[test]
fn a_decoder_that_allocates_by_a_claim_is_caught() {
    let caught = broken(|bytes| {
        let Some((length, rest)) = length(bytes) else { return false };
        let mut all: Vec<u8> = Vec::with_capacity(length & 0xff_ffff);
        all.extend(rest);
        std::hint::black_box(&all).len() == length
    });
    assert!(
        matches!(caught, Some(Broken { fault: Fault::Allocated { bytes, .. }, .. }) if bytes > 4_096),
        "{caught:?}"
    );
}

#[test]
fn a_decoder_that_takes_a_second_encoding_is_caught() {
    // a flag is any byte but zero, and is written as one
    let caught = broken(|bytes| {
        let Some((flag, rest)) = bytes.split_first() else { return false };
        let again = [&[u8::from(*flag != 0)], rest].concat();
        assert!(again == bytes, "two encodings");
        true
    });
    assert!(matches!(caught, Some(Broken { fault: Fault::Panicked(_), .. })), "{caught:?}");
}

#[test]
fn a_decoder_without_faults_is_not() {
    let caught = broken(|bytes| {
        let Some((length, rest)) = length(bytes) else { return false };
        rest.len() == length && rest.to_vec() == rest
    });
    assert!(caught.is_none(), "{caught:?}");
}

#[test]
fn the_most_memory_at_one_time_is_measured() {
    let (length, peak) = measured(|| {
        let first = vec![0_u8; 10_000];
        drop(std::hint::black_box(first));
        std::hint::black_box(vec![0_u8; 4_000]).len()
    });
    assert_eq!(length, 4_000);
    assert!((10_000..12_000).contains(&peak), "{peak}");
    let slow = execute(&planted(|_| true), b"x").unwrap();
    assert!(slow.time < Duration::from_secs(1) && slow.read);
}
