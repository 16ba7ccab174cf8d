#!/usr/bin/env bash
# The cost of idle coordinators: three nodes with three voters, and the same three with a twentieth of the
# heartbeats.
#
# benches/peers/idle.sh [--seconds 60]
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

build
nodes
again() {
    local name
    for name in "${names[@]}"; do
        kill "$(cat "$work/$name/pid")"
        while kill -0 "$(cat "$work/$name/pid")" 2>/dev/null; do sleep 0.1; done
        rm -f "$work/$name/api-url"
        node "$name"
    done
    "$load" settled --nexus "$dirs"
    # the work after a start is over by then
    sleep 5
}
again
echo "with a heartbeat every 100 ms:"
"$load" idle --nexus "$dirs" "$@"
export NEXUS_RAFT_HEARTBEAT_MS=2000 NEXUS_RAFT_ELECTION_MS=5000
again
echo "with a heartbeat every 2 s:"
"$load" idle --nexus "$dirs" "$@"
