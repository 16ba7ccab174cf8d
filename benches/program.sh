# Sourced by the scripts of benches: the root of the project, its target directory, and the program that is measured, which is
# built unless NEXUS_NODE names one. Expects `set -euo pipefail`.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${NEXUS_NODE:-}" ]; then
    cargo build --quiet --release -p nexus-node-cli --manifest-path "$root/Cargo.toml"
    NEXUS_NODE=$target/release/nexus-node
fi

# Builds the program that measures, unless NEXUS_BENCH names one, and prints its path.
measuring() {
    if [ -z "${NEXUS_BENCH:-}" ]; then
        cargo build --quiet --release -p nexus-bench --manifest-path "$root/Cargo.toml"
        NEXUS_BENCH=$target/release/nexus-bench
    fi
    realpath "$NEXUS_BENCH"
}
