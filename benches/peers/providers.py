"""The measurement of `providers.sh`, inside of a network namespace of its own.

    providers.py PROGRAM DIRECTORY [--rounds 3] [--mib 128] [--mbit 100]
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from crowd import begin, run  # noqa: E402


def add(content, providers):
    """The hash of content that each of these nodes has."""
    return {json.loads(run(*node.command("blob", "add", str(content), "--json")))["hash"] for node in providers}.pop()


def fetched(node, blob, size):
    """The seconds until a node has a blob of this size."""
    begun = time.monotonic()
    lines = node.ask("POST", f"/v1/blobs/{blob}/fetch?wait=30s").splitlines()
    took = time.monotonic() - begun
    last = json.loads(lines[-1])
    if (last.get("blob") or {}).get("size") != size:
        sys.exit(f"it was not fetched: {last}")
    return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--mbit", type=int, default=100)
    options = parser.parse_args()
    options.nodes, options.old = 3, None
    os.environ.setdefault("NEXUS_VOTER_SETTLE_MS", "1000")
    nodes = begin(options, options.directory)
    try:
        wants, *providers = nodes
        for node in providers:
            bound = f"tc qdisc add dev eth0 root tbf rate {options.mbit}mbit burst 128kb latency 50ms"
            run(*node.inside, *bound.split())
        size, content = options.mib << 20, options.directory / "content"
        ratios = []
        for number in range(options.rounds):
            times = []
            for have in (providers[:1], providers):
                content.write_bytes(os.urandom(size))
                blob = add(content, have)
                before = [node.interface()[0] for node in providers]
                times.append(fetched(wants, blob, size))
                sent = [(node.interface()[0] - then) / 2**20 for node, then in zip(providers, before)]
                names = "one provider" if len(have) == 1 else "two providers"
                rate = size * 8e-6 / times[-1]
                print(f"round {number + 1}, {names}: {times[-1]:.2f} s, {rate:.0f} Mbit/s, of each:", end=" ")
                print(*(f"{mib:.0f}" for mib in sent), "MiB", flush=True)
            ratios.append(times[0] / times[1])
        print(f"one to two, median: {statistics.median(ratios):.2f}", [round(ratio, 2) for ratio in ratios])
    finally:
        for node in nodes:
            node.process.send_signal(signal.SIGKILL)
            node.holder.kill()


if __name__ == "__main__":
    main()
