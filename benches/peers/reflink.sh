#!/usr/bin/env bash
# A file that is added, and got back, on a file system whose files can share blocks: the space and the time of each, beside the
# same by HTTP, which copies, and beside `cp` with a sync. The file system is one of a single file, mounted for this script alone.
#
# benches/peers/reflink.sh [--mib 384] [--fs btrfs|xfs]
#
# It needs root and loop devices. The program is NEXUS_NODE, or target/release/nexus-node.
set -euo pipefail

if [ -z "${REFLINK_WORK:-}" ]; then
    root=$(cd "$(dirname "$0")/../.." && pwd)
    target=${CARGO_TARGET_DIR:-$root/target}
    if [ -z "${NEXUS_NODE:-}" ]; then
        cargo build --quiet --release -p nexus-node-cli --manifest-path "$root/Cargo.toml"
        NEXUS_NODE=$target/release/nexus-node
    fi
    command -v mkfs.btrfs >/dev/null || apt-get install --yes --quiet btrfs-progs >&2
    NEXUS_NODE=$(realpath "$NEXUS_NODE")
    REFLINK_WORK=$(mktemp -d "$target/reflink-XXXXXX")
    export NEXUS_NODE REFLINK_WORK
    trap 'rm -rf "$REFLINK_WORK"' EXIT
    # what is mounted, and the node, go with the namespaces
    unshare --mount --pid --fork --mount-proc --kill-child "$0" "$@"
    exit
fi

mib=384 fs=btrfs
while [ $# -gt 0 ]; do
    case $1 in
        --mib) mib=$2 ;;
        --fs) fs=$2 ;;
        *)
            echo "no such flag: $1" >&2
            exit 2
            ;;
    esac
    shift 2
done
cd "$REFLINK_WORK"
truncate --size 3G image
"mkfs.$fs" -q image >/dev/null
mkdir at
mount -o loop image at
at=$PWD/at
nexus() { "$NEXUS_NODE" --quiet --data-dir "$at/data" "$@"; }
nexus up --no-mdns --api-addr 127.0.0.1:0 --listen /ip4/127.0.0.1/tcp/0 </dev/null >log 2>&1 &
until [ -s "$at/data/api-url" ] && nexus status >/dev/null 2>&1; do sleep 0.1; done

used() { df --output=used -B1M "$at" | tail -1 | tr -d ' '; }

# step NAME COMMAND…: the seconds that it took, and the MiB that it used.
step() {
    local name=$1 before began ended
    shift
    sync -f "$at"
    before=$(used)
    began=$(date +%s.%N)
    "$@" >/dev/null
    ended=$(date +%s.%N)
    sync -f "$at"
    awk -v name="$name" -v took="$(echo "$ended $began" | awk '{ print $1 - $2 }')" -v used="$(($(used) - before))" \
        'BEGIN { printf "%-44s %6.2f s %6d MiB\n", name, took, used }'
}

by_http() {
    curl -sSf -H "Authorization: Bearer $(cat "$at/data/api-token")" -T "$1" "$(cat "$at/data/api-url")/v1/blobs"
}

out_by_http() {
    curl -sSf -H "Authorization: Bearer $(cat "$at/data/api-token")" "$(cat "$at/data/api-url")/v1/blobs/$1" -o "$2"
    sync "$2"
}

copied() {
    cp --reflink=never "$1" "$2"
    sync "$2"
}

file() { head -c $((mib << 20)) /dev/urandom >"$1"; }

"$NEXUS_NODE" --version
echo "a file of $mib MiB on $fs, and what each step takes:"
file one
mv one "$at/one"
step "blob add" nexus blob add "$at/one"
hash=$(nexus blob list --json | grep -o '"hash":"[0-9a-f]*' | head -1 | cut -d'"' -f4)
step "blob get -o" nexus blob get "$hash" -o "$at/got"
cmp "$at/one" "$at/got"
rm "$at/got"
step "the content over HTTP, synced" out_by_http "$hash" "$at/got"
rm "$at/got"
step "cp --reflink=never, synced" copied "$at/one" "$at/copy"
rm "$at/copy"
[ "$fs" != btrfs ] || btrfs filesystem du -s "$at/one" "$at/data/blobs"
nexus blob rm "$hash" >/dev/null
step "the same file added over HTTP" by_http "$at/one"
