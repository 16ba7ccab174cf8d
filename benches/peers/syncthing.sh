#!/usr/bin/env bash
# A directory from one machine to another, beside Syncthing: 2,000 files of 4 KiB and one of 256 MiB, between two instances on
# loopback, until the second has all of them under their names. In turn, each time with new content and new instances.
#
# benches/peers/syncthing.sh [--rounds 1] [--files 2000] [--mib 256]
#
# Ours is `blob add` and `blob get -o`; Syncthing's is a scan, and the sync that follows. Both sync each file to the disk.
# The program is NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/program.sh
source "$here/../program.sh"
if ! command -v syncthing >/dev/null; then
    apt-get install --yes --quiet syncthing >&2
fi
# On a real disk: /tmp may be memory, on which a sync costs nothing.
work=$(mktemp -d "$target/syncthing-XXXXXX")
trap '[ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT
syncthing --version | cut -d' ' -f1-2
"$NEXUS_NODE" --version
python3 "$here/syncthing.py" "$NEXUS_NODE" "$work" "$@"
