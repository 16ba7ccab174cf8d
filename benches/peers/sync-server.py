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

    def client(self, *words):
        command = ["node", *map(str, words)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=900, check=True)
        return json.loads(ended.stdout)


def typed(server, clients, how, characters):
    said = server.client(clients / "typing.js", how, characters, server.address)
    return said["characters_per_second"]


def measure(name, arguments, number, found):
    """All figures of one server, which begins with no documents. What was found before a failure stays."""
    clients = pathlib.Path(arguments.clients)
    place = tempfile.mkdtemp(prefix="server-")
    try:
        server = Server(name, arguments, place)
        server.start()
        found["together"] = typed(server, clients, "together", CHARACTERS)
        found["each"] = typed(server, clients, "each", FEW)
        urls = server.client(clients / "many.js", "make", server.address, DOCUMENTS, DOCUMENT_BYTES)
        listed = pathlib.Path(place) / "urls.json"
        listed.write_text(json.dumps(urls))
        found["open"] = server.client(clients / "many.js", "open", server.address, listed)["seconds"]
        server.stop()
        server.start()
        found["open_after_start"] = server.client(clients / "many.js", "open", server.address, listed)["seconds"]
        server.stop()
        if number < 1:
            # the memory of a fresh process: the one before has room from other work
            for idle in IDLE:
                server.start()
                found[f"idle_{idle}"] = server.client(clients / "many.js", "idle", server.address, idle, server.process.pid)
                server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()
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
            try:
                measure(name, arguments, number, rounds[name][-1])
            except (subprocess.SubprocessError, OSError, ValueError) as error:
                print(f"round {number + 1}, {name}: {error}", file=sys.stderr)
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
