#!/usr/bin/env bash
# Our blobs beside those of iroh, on this machine: a file of 1 GiB from store to store in turn, and each reads the other's
# directories.
#
#     NEXUS_NODE=target/release/nexus-node benches/peers/iroh.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

nexus="$(realpath "${NEXUS_NODE:-target/release/nexus-node}")"
bench="$(realpath "${NEXUS_BENCH:-target/release/nexus-bench}")"
cargo build --quiet --release --manifest-path benches/peers/iroh/Cargo.toml
iroh="$(realpath "${CARGO_TARGET_DIR:-benches/peers/iroh/target}/release/peers-iroh")"
work="$(mktemp -d)"
trap '"$nexus" --data-dir "$work/data" stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

echo "1 GiB, MiB/s, in turn:"
head -c 1073741824 /dev/urandom >"$work/file"
for round in 1 2 3; do
    mkdir "$work/iroh"
    echo "iroh $round: $("$iroh" transfer "$work/iroh" "$work/file")"
    rm -r "$work/iroh"
    "$bench" blobs --json |
        python3 -c "import json, sys; print('ours $round:', {row['figure']: round(row['value']) for row in json.load(sys.stdin) if '1 GiB' in row['figure']})"
done
rm "$work/file"

"$nexus" --data-dir "$work/data" up --no-mdns --api-addr 127.0.0.1:0 >"$work/log" 2>&1 &
until [ -s "$work/data/api-url" ] && "$nexus" --data-dir "$work/data" status >/dev/null 2>&1; do sleep 0.1; done
url="$(cat "$work/data/api-url")"
ask() { curl -sSf -H "Authorization: Bearer $(cat "$work/data/api-token")" "$@"; }
field() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }

mkdir -p "$work/ours/sub"
echo one >"$work/ours/one"
echo two >"$work/ours/sub/two"
chmod +x "$work/ours/sub/two"
hash="$("$nexus" --data-dir "$work/data" blob add "$work/ours" --json | field hash)"
ask "$url/v1/blobs/$hash" -o "$work/links"
ask "$url/v1/blobs/$(head -c 32 "$work/links" | python3 -c 'import sys; print(sys.stdin.buffer.read().hex())')" -o "$work/names"
echo "iroh reads our directory:"
"$iroh" read "$work/links" "$work/names"

one="$(ask -T "$work/ours/one" "$url/v1/blobs?cached=true" | field hash)"
"$iroh" write "$work/links" "$work/names" "theirs/one=$one"
ask -T "$work/names" "$url/v1/blobs?cached=true" >/dev/null
theirs="$(ask -T "$work/links" "$url/v1/blobs?directory=true" | field hash)"
"$nexus" --data-dir "$work/data" blob get "$theirs" -o "$work/got"
cmp "$work/got/theirs/one" "$work/ours/one"
echo "we read theirs"
