//! Tests by seed, with a process for each seed.

use std::ops::Range;
use std::process::Command;

/// The seed of this process.
const SEED: &str = "NEXUS_SIM_SEED";

/// Runs a test for some seeds, each in a fresh process: the test program calls itself with the calling
/// test alone. With `NEXUS_SIM_SEED` set, that seed runs in this process.
///
/// libp2p counts connections per process, so a second run in one process would differ from the first.
/// And two worlds cannot run in one process at a time, as tests do by default.
///
/// ```no_run
/// # use nexus_sim::World;
/// #[test]
/// fn an_agent_survives_a_partition() {
///     nexus_sim::isolated(1..4, |seed| {
///         World::new(seed).run(async |sim| { /* … */ Ok::<_, nexus_sim::SimError>(()) }).unwrap();
///     });
/// }
/// ```
///
/// # Panics
/// If the test fails for a seed. The message has the command that repeats it.
pub fn isolated(seeds: Range<u64>, test: impl Fn(u64)) {
    if let Some(seed) = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
        return test(seed);
    }
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    assert!(!name.is_empty() && name != "main", "`isolated` needs the test's name: run tests on threads of their own");
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program cannot be found: {error}"));
    for seed in seeds {
        let output = Command::new(&program)
            .args(["--exact", name, "--nocapture", "--include-ignored"])
            .env(SEED, seed.to_string())
            .output()
            .unwrap_or_else(|error| panic!("no process for seed {seed}: {error}"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "seed {seed} failed; {SEED}={seed} runs it alone\n{out}\n{err}");
    }
}
