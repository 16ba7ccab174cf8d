#!/usr/bin/env bash
# Kills the leader of three nodes with SIGKILL, again and again, and measures the time until another node
# acknowledges a write that began after that.
#
# benches/peers/failover.sh [--kills 30]
set -euo pipefail
# shellcheck source=benches/peers/nodes.sh
source "$(dirname "$0")/nodes.sh"

build
nodes
"$load" failover --nexus "$dirs" --program "$nexus" "$@"
