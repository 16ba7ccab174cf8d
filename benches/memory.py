#!/usr/bin/env python3
"""Resident memory of two nodes of a mesh: at rest, after a load, and 20, 40 and 60 seconds later.

    benches/memory.py PROGRAM... [--connections 100] [--bytes 30000] [--seconds 12]

Each program runs in turn, in directories of its own. The load: so many connections post memories of so many bytes to one node
for so many seconds, and the other node gets them. Linux only.
"""

import argparse
import http.client
import json
import pathlib
import subprocess
import tempfile
import threading
import time


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

    def resident(self, of="VmRSS"):
        """Resident memory, in bytes: all of it, or RssAnon, that no file backs."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(f"{of}:")).split()[1]) << 10

    def post(self, number, until, posted, size):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        while time.monotonic() < until:
            posted[number] += 1
            words = f"words and more of them {posted[number]} "
            text = f"{number} {posted[number]} " + words * (size // len(words) + 1)
            connection.request("POST", "/v1/memories", json.dumps({"text": text[:size]}), headers)
            connection.getresponse().read()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(program, home, options):
    first = Node(program, home / "first")
    invited = subprocess.run(command(program, first.directory, "invite"), capture_output=True, text=True, check=True)
    ticket = json.loads(invited.stdout)["ticket"]
    joining = command(program, home / "second", "join", ticket, "--name", "second")
    subprocess.run(joining, capture_output=True, text=True, check=True)
    second = Node(program, home / "second")
    nodes = [first, second]

    def tell(when):
        each = (f"{node.resident() / 1e6:8.1f} MB{node.resident('RssAnon') / 1e6:8.1f} MB" for node in nodes)
        print(f"{when:<14}" + "  ".join(each), flush=True)

    time.sleep(5)
    tell("at rest")
    posted, until = [0] * options.connections, time.monotonic() + options.seconds
    posting = [(n, until, posted, options.bytes) for n in range(options.connections)]
    callers = [threading.Thread(target=first.post, args=one) for one in posting]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    tell(f"{sum(posted)} posts")
    for seconds in (20, 40, 60):
        time.sleep(20)
        tell(f"{seconds} s later")
    for node in nodes:
        node.stop()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("programs", nargs="+")
parser.add_argument("--connections", type=int, default=100)
parser.add_argument("--bytes", type=int, default=30_000)
parser.add_argument("--seconds", type=float, default=12)
arguments = parser.parse_args()
for one in arguments.programs:
    print(f"{one}\n{'':<14} first node, that no file backs; second")
    with tempfile.TemporaryDirectory() as made:
        measure(one, pathlib.Path(made), arguments)
