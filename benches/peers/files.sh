#!/usr/bin/env bash
# All figures of blobs in one run, each beside its floor or its peer: "Files" in BENCHMARKS.md has them.
#
# benches/peers/files.sh
#
# The program is NEXUS_NODE, or target/release/nexus-node. Reflinks need root, and are left out without it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/program.sh
source "$here/../program.sh"
NEXUS_BENCH=$(measuring)
NEXUS_NODE=$(realpath "$NEXUS_NODE")
export NEXUS_NODE NEXUS_BENCH

step() {
    echo
    echo "== $*"
}
step "two nodes in one process, beside plain copies"
"$NEXUS_BENCH" blobs
step "beside iroh-blobs"
"$here/iroh.sh"
step "a directory beside Syncthing"
"$here/syncthing.sh" --rounds 3
step "one provider and two, 100 Mbit/s each"
"$here/providers.sh"
step "a start with blobs of 100 GB"
"$here/sparse.sh"
if [ "$(id -u)" = 0 ]; then
    step "files that share blocks: btrfs"
    "$here/reflink.sh"
fi
step "critical writes beside a transfer"
"$here/transfer.sh"
