#!/usr/bin/env python3
"""Resident memory of two nodes of a mesh: at rest, after a load, and 20 and 40 seconds later.

    benches/memory.py PROGRAM...    each program in turn, each in directories of its own

The load: 100 connections post memories of 30 KB to one node for 12 seconds, and the other node gets them. Linux only.
"""

import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

CONNECTIONS = 100
LOAD_SECONDS = 12
# of some words, to be cut at 30 KB
REPEATS = 1300


def command(program, directory, *args):
    return [program, "--data-dir", str(directory), "--json", *args]


class Node:
    def __init__(self, program, directory):
        self.directory = directory
        up = ["up", "--no-mdns", "--api-addr", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"]
        log = open(directory.with_suffix(".log"), "w")
        self.process = subprocess.Popen(
            command(program, directory, *up), stdout=subprocess.PIPE, stderr=log, text=True,
        )
        self.port = int(json.loads(self.process.stdout.readline())["api"].rsplit(":", 1)[1])
        self.token = (directory / "api-token").read_text().strip()

    def resident(self):
        """Resident memory, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) << 10

    def post(self, number, until, posted):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        while time.monotonic() < until:
            posted[number] += 1
            text = f"{number} {posted[number]} " + f"words and more of them {posted[number]} " * REPEATS
            connection.request("POST", "/v1/memories", json.dumps({"text": text[:30_000]}), headers)
            connection.getresponse().read()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(program, home):
    first = Node(program, home / "first")
    invited = subprocess.run(command(program, first.directory, "invite"), capture_output=True, text=True, check=True)
    ticket = json.loads(invited.stdout)["ticket"]
    joining = command(program, home / "second", "join", ticket, "--name", "second")
    subprocess.run(joining, capture_output=True, text=True, check=True)
    second = Node(program, home / "second")
    nodes = [first, second]

    def tell(when):
        print(f"{when:<14}" + "".join(f"{node.resident() / 1e6:8.1f} MB" for node in nodes), flush=True)

    time.sleep(5)
    tell("at rest")
    posted, until = [0] * CONNECTIONS, time.monotonic() + LOAD_SECONDS
    callers = [threading.Thread(target=first.post, args=(n, until, posted)) for n in range(CONNECTIONS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    tell(f"{sum(posted)} posts")
    for seconds in (20, 40):
        time.sleep(20)
        tell(f"{seconds} s later")
    for node in nodes:
        node.stop()


if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
    sys.exit(__doc__)
for one in sys.argv[1:]:
    print(f"{one}\n{'':<14} first node   second")
    with tempfile.TemporaryDirectory() as made:
        measure(one, pathlib.Path(made))
