#!/usr/bin/env bash
# Critical writes of three voters beside a large blob: at rest, while one of them fetches a file of 1 GiB from another again
# and again, and as a floor while `cp` and `sync` write as much to the same disk.
#
#     benches/peers/transfer.sh [--rounds 3] [--seconds 5] [--clients 8]
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

rounds=3 seconds=5 clients=8
flags "$@"
build
nodes

head -c 1073741824 /dev/urandom >"$work/file"
hash=$("$nexus" --data-dir "$work/first" blob add "$work/file" --json | grep -o '"hash":"[0-9a-f]*' | cut -d'"' -f4)

# Fetches that file again and again, and counts.
fetches() {
    local done=0
    while [ ! -e "$work/enough" ]; do
        curl -sSf -X POST -H "Authorization: Bearer $(cat "$work/second/api-token")" \
            "$(cat "$work/second/api-url")/v1/blobs/$hash/fetch?wait=30s" >/dev/null || break
        "$nexus" --data-dir "$work/second" blob rm "$hash" >/dev/null 2>&1 || break
        done=$((done + 1))
    done
    echo "  $done times"
}

# Copies it again and again, and counts.
copies() {
    local done=0
    while [ ! -e "$work/enough" ]; do
        cp "$work/file" "$work/copy"
        sync "$work/copy"
        rm "$work/copy"
        done=$((done + 1))
    done
    echo "  $done times"
}

# beside WORK: the load while that function works.
beside() {
    echo "beside $1 of 1 GiB:"
    rm -f "$work/enough"
    "$1" &
    local working=$!
    "$load" alone --nexus "$dirs" --clients "$clients" --seconds "$seconds"
    touch "$work/enough"
    wait "$working"
}

for round in $(seq "$rounds"); do
    echo "round $round"
    echo "at rest:"
    "$load" alone --nexus "$dirs" --clients "$clients" --seconds "$seconds"
    beside fetches
    beside copies
done
