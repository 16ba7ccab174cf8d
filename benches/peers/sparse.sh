#!/usr/bin/env bash
# The start of a node whose store has a blob of 100 GB, whole, and another one that is partly here. Both are files of holes
# under the names that such blobs have: a start does not look whether content has its hash. Beside it the start without them.
#
# benches/peers/sparse.sh [--rounds 5]
#
# The program is NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
rounds=5
[ "${1:-}" != --rounds ] || rounds=$2
if [ -z "${NEXUS_NODE:-}" ]; then
    cargo build --quiet --release -p nexus-node-cli --manifest-path "$root/Cargo.toml"
    NEXUS_NODE=$target/release/nexus-node
fi
work=$(mktemp -d "$target/sparse-XXXXXX")
trap 'rm -rf "$work"' EXIT

# start NAME: the seconds until the node's first line, which comes once the store is open, and the bytes that it has read.
start() {
    local pid began ended
    mkfifo "$work/out"
    began=$(date +%s.%N)
    "$NEXUS_NODE" --json --data-dir "$work/data" up --no-mdns --api-addr 127.0.0.1:0 --listen /ip4/127.0.0.1/tcp/0 \
        </dev/null >"$work/out" 2>"$work/log" &
    pid=$!
    read -r _ <"$work/out"
    ended=$(date +%s.%N)
    awk -v name="$1" -v took="$(echo "$ended $began" | awk '{ print $1 - $2 }')" \
        '$1 == "rchar:" { printf "%-32s ready after %.2f s, %d KiB were read\n", name, took, $2 / 1024 }' "/proc/$pid/io"
    kill "$pid"
    wait "$pid" || true
    rm "$work/out"
}

start "the first start" >/dev/null
blobs=$work/data/blobs
whole=$(printf 'ab%.0s' $(seq 32)) partly=$(printf 'cd%.0s' $(seq 32))
for round in $(seq "$rounds"); do
    rm -rf "$blobs"
    start "round $round, without blobs"
    mkdir -p "$blobs/ab" "$blobs/part"
    truncate --size 100000000000 "$blobs/ab/$whole" "$blobs/part/$partly"
    truncate --size 390624960 "$blobs/ab/$whole.obao4" "$blobs/part/$partly.obao4"
    python3 -c 'import sys; sys.stdout.buffer.write((10**11).to_bytes(8, "little") + b"\x80" + bytes(47683))' \
        >"$blobs/part/$partly.have"
    start "round $round, two of 100 GB"
done
du -sh --apparent-size "$blobs"
