#!/usr/bin/env bash
# Tasks beside a work queue of JetStream, in turn: one server and one node, each on the same disk, every step of a task
# synced before it is answered. Prints tasks a second and times of each round, and the ratio of the medians.
#
# benches/peers/jetstream.sh [--rounds 5] [--seconds 5] [--clients 64]
# NATS_SERVER names another `nats-server`; from 2.10 on it can sync each write.
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

rounds=5 seconds=5 clients=64
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
server=${NATS_SERVER:-nats-server}
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

median() {
    sort -n | awk '{ rows[NR] = $1 } END { print rows[int((NR + 1) / 2)] }'
}

"$server" --version
"$nexus" --version
: >"$work/theirs"
: >"$work/ours"
for round in $(seq "$rounds"); do
    theirs=$(jetstream)
    ours=$(cd "$work" && TMPDIR=$work "$nexus" --json bench tasks --seconds "$seconds")
    printf 'round %s\n  jetstream %s\n  nexus     %s\n' "$round" "$theirs" \
        "$(printf '%s' "$ours" | python3 -c '
import json, sys
rows = json.load(sys.stdin)
print(json.dumps([{key: row[key] for key in ("figure", "value", "unit")} for row in rows]))')"
    printf '%s' "$theirs" | python3 -c 'import json, sys; print(json.load(sys.stdin)["tasks_per_second"])' >>"$work/theirs"
    printf '%s' "$ours" | python3 -c '
import json, sys
rows = json.load(sys.stdin)
print(next(row["value"] for row in rows if row["figure"].startswith("done")))' >>"$work/ours"
done
theirs=$(median <"$work/theirs") ours=$(median <"$work/ours")
awk -v ours="$ours" -v theirs="$theirs" \
    'BEGIN { printf "tasks a second, medians: nexus %.0f, jetstream %.0f, ratio %.2f\n", ours, theirs, ours / theirs }'
