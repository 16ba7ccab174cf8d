"""Runs programs of automerge-repo at three sync servers in turn, and prints medians with their ratios (`sync-server.sh` builds all)."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CHARACTERS = 10_000
# where each is a change of its own
FEW = 2_000
DOCUMENTS = 1_000
DOCUMENT_BYTES = 10_000
IDLE = (2_000, 10_000)
OURS, THEIRS, RUST = "nexus", "automerge-repo-sync-server", "samod"
# our speed to theirs
GOALS = {THEIRS: 2.0, RUST: 1.0}
IDLE_BYTES_MAX = 64 << 10
# the longest time for one part, in seconds: some servers take time by the square of the documents
PATIENCE = 180


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("nexus")
    parser.add_argument("samod")
    parser.add_argument("clients")
    parser.add_argument("server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server with its files in a directory of its own. Started again, it has them still."""

    def __init__(self, name, arguments, place):
        self.name, self.arguments, self.place = name, arguments, pathlib.Path(place)
        self.process = None
        self.token = None

    def start(self):
        files = self.place / "files"
        if self.name == OURS:
            program = [self.arguments.nexus, "--data-dir", str(files), "--quiet", "--json"]
            words = ["up", "--no-mdns", "--api-addr", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--until-stdin-closes"]
            self.process = subprocess.Popen(program + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ready = json.loads(self.process.stdout.readline())
            if self.token is None:
                create = ["token", "create", "--name", "clients", "--scope", "documents:read", "--scope", "documents:write", "--rate", "1000000"]
                made = subprocess.run(program + create, stdout=subprocess.PIPE, check=True)
                self.token = json.loads(made.stdout)["token"]
            self.address = f"ws{ready['api'].removeprefix('http').rstrip('/')}/automerge?token={self.token}"
        elif self.name == THEIRS:
            port = free_port()
            environment = {**os.environ, "PORT": str(port), "DATA_DIR": str(files)}
            command = ["node", self.arguments.server]
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.process.stdout.readline()
            self.address = f"ws://127.0.0.1:{port}"
        else:
            command = [self.arguments.samod, "serve", str(files)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.address = json.loads(self.process.stdout.readline())["address"]

    def stop(self):
        if self.name == OURS:
            self.process.stdin.close()
        else:
            self.process.terminate()
        self.process.wait(60)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)

    def client(self, *words):
        command = ["node", *map(str, words)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=True)
        return json.loads(ended.stdout)


def typed(server, clients, how, characters):
    said = server.client(clients / "typing.js", how, characters, server.address)
    return said["characters_per_second"]


def measure(name, arguments, number, found):
    """All figures of one server, which begins with no documents. A part that fails keeps no other one from being measured."""
    clients = pathlib.Path(arguments.clients)
    place = tempfile.mkdtemp(prefix="server-")
    server = Server(name, arguments, place)

    def part(key, run):
        try:
            found[key] = run()
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            print(f"round {number + 1}, {name}, {key}: {str(error)[:200]}", file=sys.stderr)
            server.kill()
            server.start()

    def many(*words):
        return server.client(clients / "many.js", *words)

    try:
        server.start()
        part("together", lambda: typed(server, clients, "together", CHARACTERS))
        part("each", lambda: typed(server, clients, "each", FEW))
        part("urls", lambda: many("make", server.address, DOCUMENTS, DOCUMENT_BYTES))
        if "urls" in found:
            listed = pathlib.Path(place) / "urls.json"
            listed.write_text(json.dumps(found.pop("urls")))
            part("open", lambda: many("open", server.address, listed)["seconds"])
            server.stop()
            server.start()
            part("open_after_start", lambda: many("open", server.address, listed)["seconds"])
        if number < 1:
            # the memory of a fresh process: the one before has room from other work
            for idle in IDLE:
                server.stop()
                server.start()
                part(f"idle_{idle}", lambda: many("idle", server.address, idle, server.process.pid))
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


def main():
    arguments = parse()
    names = [OURS, THEIRS, RUST]
    rounds = {name: [] for name in names}
    for number in range(arguments.rounds):
        # each is the first once: what comes first finds another machine than what comes last
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begun = time.monotonic()
            rounds[name].append({})
            measure(name, arguments, number, rounds[name][-1])
            print(f"round {number + 1}, {name}: {json.dumps(rounds[name][-1])}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"rounds": rounds, "load": os.getloadavg()}, indent=2))
        return
    rows = [
        ("together", f"{CHARACTERS:,} characters, in batches of our node", "/s", True),
        ("each", f"{FEW:,} characters, a change each", "/s", True),
        ("open", f"{DOCUMENTS:,} documents of 10 KB, opened by a client", " s", False),
        ("open_after_start", "the same, once the server was started anew", " s", False),
    ]
    print(f"Two clients of automerge-repo at one server, {arguments.rounds} rounds in turn; load {os.getloadavg()[0]:.1f}:\n")
    print("| | " + " | ".join(names) + " | " + " | ".join(f"ours to {name} (asked)" for name in names[1:]) + " |")
    print("|---|" + "---|" * (2 * len(names) - 1))
    for key, title, unit, more_is_better in rows:
        values = {name: [turn[key] for turn in rounds[name] if key in turn] for name in names}
        shown = [f"{statistics.median(all_of):,.4g}{unit}" if all_of else "failed" for all_of in values.values()]
        ratios = []
        for name in names[1:]:
            pairs = [(mine[key], other[key]) for mine, other in zip(rounds[OURS], rounds[name]) if key in mine and key in other]
            ratio = statistics.median(mine / other if more_is_better else other / mine for mine, other in pairs) if pairs else None
            asked = f" (≥ {GOALS[name]:g})" if more_is_better else ""
            ratios.append("" if ratio is None else f"{ratio:.2f}{asked}")
        print(f"| {title} | " + " | ".join(shown + ratios) + " |")
    for idle in IDLE:
        for key, title in (("joined", "joined"), ("open", "with a document open")):
            cells = []
            for name in names:
                found = next((turn[f"idle_{idle}"] for turn in rounds[name] if f"idle_{idle}" in turn), None)
                cells.append(f"{found[key] / 1024:,.1f} KiB" + ("" if found["alive"] == idle else f", {found['alive']:,} alive") if found else "failed")
            cells[0] += f" (< {IDLE_BYTES_MAX >> 10})"
            print(f"| memory for each of {idle:,} idle clients, {title} | " + " | ".join(cells) + " | | |")


main()
