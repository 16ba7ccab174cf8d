#!/usr/bin/env bash
# Our node as a sync server beside automerge-repo's own and samod's, each with files on this disk: characters between two clients
# of automerge-repo, a client that opens 1,000 documents of 10 KB, and the memory of idle clients.
#
#     benches/peers/sync-server.sh [--rounds 5] [--json]
#
# Ours syncs each change to the disk before it answers; the others write files when they come to it, and sync nothing. The clients
# are the same for all three. It needs Node 20 and npm, and 10,100 open files for each process (`ulimit -n`). The program is
# NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
program=$(realpath -m "${NEXUS_NODE:-$target/release/nexus-node}")
[ -x "$program" ] || cargo build --quiet --release -p nexus-node-cli --manifest-path "$root/Cargo.toml"
cargo build --quiet --release --locked --manifest-path "$here/samod/Cargo.toml" --target-dir "$target/peers"

# On a real disk: /tmp may be memory.
work=$(mktemp -d "$target/sync-server-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/files" "$work/clients" "$work/server"
cp "$here"/automerge-repo/{package.json,package-lock.json,typing.js,many.js} "$work/clients"
cp "$here"/sync-server/{package.json,package-lock.json} "$work/server"
for part in clients server; do
    npm install --prefix "$work/$part" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
done
server=$work/server/node_modules/@automerge/automerge-repo-sync-server/src/index.js
TMPDIR=$work/files python3 "$here/sync-server.py" "$program" "$target/peers/release/peers-samod" "$work/clients" "$server" "$@"
