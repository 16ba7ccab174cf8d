#!/usr/bin/env bash
# Critical writes of three voters beside a large blob: at rest, while one of them fetches a file of 1 GiB from another again
# and again, and as a floor while `cp` and `sync` write as much to the same disk.
#
#     benches/peers/transfer.sh [--rounds 3] [--seconds 5] [--clients 8]
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

rounds=3 seconds=5 clients=8
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --clients) clients=$2 ;;
        *)
            echo "no such flag: $1" >&2
            exit 2
            ;;
    esac
    shift 2
done
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
    echo "$done" >"$work/fetched"
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
    echo "$done" >"$work/copied"
}

for round in $(seq "$rounds"); do
    echo "round $round"
    echo "at rest:"
    "$load" alone --nexus "$dirs" --clients "$clients" --seconds "$seconds"
    rm -f "$work/enough"
    fetches &
    fetching=$!
    echo "beside a transfer:"
    "$load" alone --nexus "$dirs" --clients "$clients" --seconds "$seconds"
    touch "$work/enough"
    wait "$fetching"
    echo "  1 GiB came $(cat "$work/fetched") times"
    rm -f "$work/enough"
    copies &
    copying=$!
    echo "beside plain copies:"
    "$load" alone --nexus "$dirs" --clients "$clients" --seconds "$seconds"
    touch "$work/enough"
    wait "$copying"
    echo "  1 GiB was copied $(cat "$work/copied") times"
done
