//! Sets `cfg(nexus_plants)` for `NEXUS_PLANTS=1`: see `src/plants.rs`.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(nexus_plants)");
    println!("cargo::rerun-if-env-changed=NEXUS_PLANTS");
    if std::env::var("NEXUS_PLANTS").is_ok_and(|value| value == "1") {
        // this build has bugs in it: it must not lie where somebody takes it for sound
        let out = std::env::var("OUT_DIR").unwrap_or_default();
        let apart = Path::new(&out).components().any(|part| part.as_os_str() == "plants");
        assert!(apart, "NEXUS_PLANTS=1 needs a target directory called `plants`: --target-dir target/plants");
        println!("cargo::rustc-cfg=nexus_plants");
    }
}
