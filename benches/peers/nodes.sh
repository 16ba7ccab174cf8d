# Sourced by the scripts beside it: three nexus nodes on loopback, in a temporary directory that goes
# with the script. Expects `set -euo pipefail`.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
nexus=${NEXUS_NODE:-$target/release/nexus-node}
load=$target/peers/release/peers-load
# On a real disk: /tmp may be memory, on which a sync costs nothing.
work=$(mktemp -d "$target/peers-XXXXXX")
names=(first second third)
dirs=$(printf ",$work/%s" "${names[@]}")
dirs=${dirs:1}
started=()

cleanup() {
    local pid file
    for file in "$work"/*/pid; do
        [ -e "$file" ] && started+=("$(cat "$file")")
    done
    for pid in ${started[@]+"${started[@]}"}; do
        kill -9 "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# flags FLAG VALUE…: sets the numbers of a measurement.
# shellcheck disable=SC2034  # the scripts read them
flags() {
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
}

# Builds the node and the load, unless they were named.
build() {
    [ -n "${NEXUS_NODE:-}" ] || cargo build --quiet --release -p nexus-node-cli --manifest-path "$root/Cargo.toml"
    cargo build --quiet --release --manifest-path "$root/benches/peers/load/Cargo.toml" --target-dir "$target/peers"
}

# node NAME: runs a node; its process is in NAME/pid.
node() {
    local dir=$work/$1
    "$nexus" --data-dir "$dir" up --name "$1" --no-mdns --api-addr 127.0.0.1:0 \
        --listen /ip4/127.0.0.1/udp/0/quic-v1 --listen /ip4/127.0.0.1/tcp/0 \
        </dev/null >"$dir.out" 2>>"$dir.log" &
    local pid=$!
    # the kill is expected
    disown "$pid"
    for _ in $(seq 300); do
        # the file is of this run once the node is ready
        if [ -s "$dir.out" ] && [ -s "$dir/api-url" ]; then
            echo "$pid" >"$dir/pid"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    echo "node $1 did not start:" >&2
    tail -5 "$dir.log" >&2
    exit 1
}

# Three voters that agree.
nodes() {
    export NEXUS_VOTER_SETTLE_MS=${NEXUS_VOTER_SETTLE_MS:-200}
    local name
    node first
    for name in second third; do
        local ticket
        ticket=$("$nexus" --data-dir "$work/first" -q invite | grep -o "nexus1[^ ]*")
        "$nexus" --data-dir "$work/$name" join "$ticket" --name "$name" >/dev/null 2>>"$work/$name.log"
        node "$name"
    done
    "$load" settled --nexus "$dirs"
}
