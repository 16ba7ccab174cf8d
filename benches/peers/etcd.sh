#!/usr/bin/env bash
# nexus beside etcd: three members each on loopback, the same puts, every commit synced on both
# sides, in turn. Prints puts a second, times, the ratio, and the floor of the same run.
#
# benches/peers/etcd.sh [--rounds 5] [--seconds 5] [--clients 64]
# `chrt -r 5 benches/peers/etcd.sh` keeps other programs out of the figures of both sides.
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

if ! command -v etcd >/dev/null; then
    apt-get install --yes --quiet etcd-server >&2
fi
build

ports=()
while read -r port; do ports+=("$port"); done < <("$load" ports --count 6)
cluster=""
for n in 0 1 2; do
    cluster+=",m$n=http://127.0.0.1:${ports[n + 3]}"
done
addresses=""
for n in 0 1 2; do
    client=http://127.0.0.1:${ports[n]} peer=http://127.0.0.1:${ports[n + 3]}
    addresses+=",127.0.0.1:${ports[n]}"
    etcd --name "m$n" --data-dir "$work/etcd-$n" --logger zap --log-level error \
        --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
        --initial-cluster "${cluster:1}" --initial-cluster-state new >"$work/etcd-$n.log" 2>&1 &
    started+=($!)
done
nodes
etcd --version | head -1
"$nexus" --version
"$load" compare --etcd "${addresses:1}" --nexus "$dirs" --floor "$work/floor" "$@"
