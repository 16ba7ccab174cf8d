#!/usr/bin/env python3
"""What a sandbox costs: the time from a task's start to its told end, for a command that does nothing, at each level.

    benches/sandbox.py PROGRAM [--tasks 200] [--rounds 3]

One node, and one worker at a time: with no sandbox, with Landlock and seccomp, and in namespaces of its own. Each does so many
tasks one after the other; the levels take turns. `bare` is the same command started by this script. Linux only.
"""

import argparse
import http.client
import json
import pathlib
import subprocess
import tempfile
import time

LEVELS = ("none", "kernel", "full")
COMMAND = "/bin/true"


def at(times, part):
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]


def bare(tasks):
    times = []
    for _ in range(tasks):
        began = time.monotonic()
        subprocess.run([COMMAND], check=True, stdin=subprocess.DEVNULL)
        times.append((time.monotonic() - began) * 1_000)
    return times


class Node:
    def __init__(self, program, directory):
        self.base = [program, "--data-dir", str(directory), "--json"]
        up = ["up", "--no-mdns", "--api-addr", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]
        self.process = subprocess.Popen(self.base + up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = int(json.loads(self.process.stdout.readline())["api"].rsplit(":", 1)[1])
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        token = (directory / "api-token").read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def submit(self, capability):
        task = json.dumps({"capability": capability, "input": {}})
        self.http.request("POST", "/v1/tasks", task, self.headers)
        answer = self.http.getresponse()
        body = answer.read()
        assert answer.status in (200, 201), body

    def work(self, level, tasks):
        """The milliseconds that each task took, by the worker's own clock."""
        command = self.base + ["worker", "--capability", level, "--sandbox", level, "--allow-root", "--cpu-max", "100"]
        worker = subprocess.Popen(
            command + ["--", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        times = []
        try:
            while len(times) <= tasks:
                # the first one is not counted: files are read for the first time
                self.submit(level)
                line = worker.stdout.readline()
                while line and "took_ms" not in line:
                    line = worker.stdout.readline()
                done = json.loads(line)
                assert done["result"] == "succeeded", done
                times.append(done["took_ms"])
        finally:
            worker.terminate()
            worker.wait()
        return times[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = {"bare": [], **{level: [] for level in LEVELS}}
    with tempfile.TemporaryDirectory() as work:
        node = Node(arguments.program, pathlib.Path(work) / "node")
        try:
            for round_ in range(arguments.rounds):
                print(f"round {round_ + 1} of {arguments.rounds}", flush=True)
                rows["bare"].append(bare(arguments.tasks))
                for level in LEVELS:
                    rows[level].append(node.work(level, arguments.tasks))
        finally:
            node.process.terminate()
            node.process.wait()
    print("| level | p50, ms | p95, ms |\n|---|---|---|")
    for name, rounds in rows.items():
        p50, p95 = (" · ".join(f"{at(times, part):.0f}" for times in rounds) for part in (0.5, 0.95))
        print(f"| {name} | {p50} | {p95} |")


main()
