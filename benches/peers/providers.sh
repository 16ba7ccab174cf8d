#!/usr/bin/env bash
# A blob from one provider and from two: three nodes, each in a network namespace of its own, of which two send with at most
# so many Mbit/s. Each content is fetched once.
#
# benches/peers/providers.sh [--rounds 3] [--mib 128] [--mbit 100]
#
# It needs no root: it makes a user namespace if it has to. The program is NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/program.sh
source "$here/../program.sh"
# On a real disk: /tmp may be memory, on which a sync costs nothing.
work=$(mktemp -d "$target/providers-XXXXXX")
trap '[ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT
as=()
[ "$(id -u)" = 0 ] || as=(--user --map-root-user)
# the processes of the namespace end with its first one
unshare "${as[@]}" --net --pid --fork --mount-proc --kill-child python3 "$here/providers.py" "$NEXUS_NODE" "$work" "$@"
