#!/usr/bin/env bash
# Tasks beside a work queue of JetStream, in turn: one server and one node, each on the same disk, every step of a task
# synced before it is answered. Ours is asked over HTTP by the same clients, and in its own process. Prints tasks a second
# and times of each round, and the ratios of the medians.
#
# benches/peers/jetstream.sh [--rounds 5] [--seconds 5] [--clients 64]
# NATS_SERVER names another `nats-server`; from 2.10 on it can sync each write.
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

rounds=5 seconds=5 clients=64
flags "$@"
server=${NATS_SERVER:-nats-server}
bench=${NEXUS_BENCH:-$target/release/nexus-bench}
[ -n "${NEXUS_BENCH:-}" ] || cargo build --quiet --release -p nexus-bench --manifest-path "$root/Cargo.toml"
if ! command -v "$server" >/dev/null; then
    apt-get install --yes --quiet nats-server >&2
fi
build

read -r port < <("$load" ports --count 1)
printf 'listen: "127.0.0.1:%s"\njetstream { store_dir: "%s", sync_interval: always }\n' "$port" "$work/nats" \
    >"$work/nats.conf"
if ! "$server" -t -c "$work/nats.conf" >"$work/nats.log" 2>&1; then
    cat "$work/nats.log" >&2
    echo "this nats-server cannot sync each write: it takes 2.10, which Debian 13 has; NATS_SERVER names another" >&2
    exit 1
fi

# jetstream: a new store, one load, and an end
jetstream() {
    rm -rf "$work/nats"
    "$server" -c "$work/nats.conf" >"$work/nats.log" 2>&1 &
    local pid=$!
    started+=("$pid")
    for _ in $(seq 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        sleep 0.1
    done
    "$load" jetstream --nats "127.0.0.1:$port" --clients "$clients" --seconds "$seconds"
    kill "$pid"
    wait "$pid" 2>/dev/null || true
}

# over_http: a new node, the same load over its API, and an end
over_http() {
    rm -rf "$work/first" "$work/first.out"
    node first
    "$load" tasks --nexus "$work/first" --clients "$clients" --seconds "$seconds"
    local pid
    pid=$(cat "$work/first/pid")
    kill -9 "$pid"
    rm -f "$work/first/pid"
}

median() {
    sort -n | awk '{ rows[NR] = $1 } END { print rows[int((NR + 1) / 2)] }'
}

"$server" --version
"$nexus" --version
: >"$work/theirs"
: >"$work/ours"
: >"$work/doors"
per_second() { python3 -c 'import json, sys; print(json.load(sys.stdin)["tasks_per_second"])'; }
for round in $(seq "$rounds"); do
    theirs=$(jetstream)
    door=$(over_http)
    ours=$(cd "$work" && TMPDIR=$work "$bench" --json tasks --seconds "$seconds")
    printf 'round %s\n  jetstream        %s\n  nexus over HTTP  %s\n  nexus in process %s\n' "$round" "$theirs" "$door" \
        "$(printf '%s' "$ours" | python3 -c '
import json, sys
rows = json.load(sys.stdin)
print(json.dumps([{key: row[key] for key in ("figure", "value", "unit")} for row in rows]))')"
    printf '%s' "$theirs" | per_second >>"$work/theirs"
    printf '%s' "$door" | per_second >>"$work/doors"
    printf '%s' "$ours" | python3 -c '
import json, sys
rows = json.load(sys.stdin)
print(next(row["value"] for row in rows if row["figure"].startswith("done")))' >>"$work/ours"
done
theirs=$(median <"$work/theirs") door=$(median <"$work/doors") ours=$(median <"$work/ours")
awk -v ours="$ours" -v door="$door" -v theirs="$theirs" 'BEGIN {
    printf "tasks a second, medians: jetstream %.0f\n", theirs
    printf "nexus over HTTP %.0f, ratio %.2f\nnexus in process %.0f, ratio %.2f\n", door, door / theirs, ours, ours / theirs
}'
