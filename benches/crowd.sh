#!/usr/bin/env bash
# A mesh of N real nodes, each in a network namespace of its own on one bridge: what it costs at rest, and what an
# update costs. The interface counters of the bridge count everything, headers included.
#
# benches/crowd.sh [--nodes 5] [--settle 60] [--seconds 60] [--load] [--kinds] [--old PROGRAM] [--soak SECONDS]
#                  [--faults ROUNDS]
#
# It needs no root: it makes a user namespace if it has to. The program is NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/program.sh
source "$here/program.sh"
# On a real disk: /tmp may be memory, on which a sync costs nothing.
work=$(mktemp -d "$target/crowd-XXXXXX")
trap '[ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT
as=()
[ "$(id -u)" = 0 ] || as=(--user --map-root-user)
# the processes of the namespace end with its first one
unshare "${as[@]}" --net --pid --fork --mount-proc --kill-child python3 "$here/crowd.py" "$NEXUS_NODE" "$work" "$@"
