#!/usr/bin/env bash
# Living documents beside samod and automerge-repo, on this machine: 10,000 characters that one end types until the other has
# them, in turn. Then the other figures of our documents (`nexus-bench documents`).
#
#     benches/peers/documents.sh [--rounds 5] [--only-typing] [--json]
#
# Ours syncs each batch to both disks; the other two keep all in memory. Their typists make a change for each character
# ("each"), and in the batches of our node: the first at once, and then all that come within 20 ms, 1,000 at most ("together").
# It needs Node 20 and npm. The program is NEXUS_BENCH, or target/release/nexus-bench.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
bench=$(realpath -m "${NEXUS_BENCH:-$target/release/nexus-bench}")
[ -x "$bench" ] || cargo build --quiet --release -p nexus-node-cli -p nexus-bench --manifest-path "$root/Cargo.toml"
cargo build --quiet --release --locked --manifest-path "$here/samod/Cargo.toml" --target-dir "$target/peers"

# On a real disk: /tmp may be memory, on which a sync costs nothing.
work=$(mktemp -d "$target/documents-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/nodes" "$work/js"
cp "$here"/automerge-repo/{package.json,package-lock.json,typing.js} "$work/js"
npm install --prefix "$work/js" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
TMPDIR=$work/nodes python3 "$here/documents.py" "$bench" "$target/peers/release/peers-samod" "$work/js/typing.js" "$@"
