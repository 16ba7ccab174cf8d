"""The measurement of `syncthing.sh`.

    syncthing.py PROGRAM DIRECTORY [--rounds 1] [--files 2000] [--mib 256]
"""

import argparse
import filecmp
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def wait(what, until, every=0.02, within=300):
    end = time.monotonic() + within
    while not until():
        if time.monotonic() > end:
            sys.exit(f"not within {within} s: {what}")
        time.sleep(every)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def make(source, options):
    for number in range(options.files):
        path = source / f"d{number % 20}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))
    (source / "large").write_bytes(os.urandom(options.mib << 20))
    os.sync()


def same(source, got):
    """Whether both have the same files."""
    seen = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    return all((got / path).is_file() and filecmp.cmp(source / path, got / path, shallow=False) for path in seen)


class Sync:
    """An instance of Syncthing that looks for nobody by itself."""

    def __init__(self, home):
        self.home, self.folder = home, home / "folder"
        self.folder.mkdir(parents=True)
        self.gui, self.port, self.key = free_port(), free_port(), "benchmark"
        run("syncthing", "generate", f"--home={home}/config", "--no-default-folder")
        words = ["serve", f"--home={home}/config", "--no-browser", "--no-restart", "--no-upgrade"]
        words += [f"--gui-address=127.0.0.1:{self.gui}", f"--gui-apikey={self.key}"]
        log = open(home / "log", "w")
        # it has a process that watches over it
        self.process = subprocess.Popen(["syncthing", *words], stdout=log, stderr=log, start_new_session=True)
        wait("syncthing answers", self.answers)
        self.id = self.ask("GET", "/rest/system/status")["myID"]
        options = {
            "listenAddresses": [f"tcp://127.0.0.1:{self.port}"],
            "globalAnnounceEnabled": False,
            "localAnnounceEnabled": False,
            "relaysEnabled": False,
            "natEnabled": False,
            "urAccepted": -1,
            "crashReportingEnabled": False,
        }
        self.ask("PATCH", "/rest/config/options", options)

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # the other process of the group ends by itself, and writes nothing any more
        wait("syncthing has ended", lambda: not self.runs())

    def runs(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.gui}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def answers(self):
        try:
            return self.ask("GET", "/rest/system/ping")["ping"] == "pong"
        except (urllib.error.URLError, ConnectionError):
            return False

    def share(self, other):
        self.ask("POST", "/rest/config/devices", {"deviceID": other.id, "addresses": [f"tcp://127.0.0.1:{other.port}"]})
        devices = [{"deviceID": self.id}, {"deviceID": other.id}]
        folder = {"id": "all", "path": str(self.folder), "devices": devices, "rescanIntervalS": 0, "fsWatcherEnabled": False}
        self.ask("POST", "/rest/config/folders", folder)

    def connected(self, other):
        known = self.ask("GET", "/rest/system/connections")["connections"]
        return known.get(other.id, {}).get("connected", False)

    def has_all(self, files):
        now = self.ask("GET", "/rest/db/status?folder=all")
        return now["state"] == "idle" and now["localFiles"] == files and now["needTotalItems"] == 0

    def idle(self):
        try:
            return self.ask("GET", "/rest/db/status?folder=all")["state"] == "idle"
        except urllib.error.HTTPError:
            return False


def theirs(source, home, options):
    ours, other = Sync(home / "a"), Sync(home / "b")
    try:
        ours.share(other)
        other.share(ours)
        wait("both are connected", lambda: ours.connected(other) and other.connected(ours))
        wait("both are at rest", lambda: ours.idle() and other.idle())
        for path in source.iterdir():
            path.rename(ours.folder / path.name)
        begun = time.monotonic()
        ours.ask("POST", "/rest/db/scan?folder=all")
        scanned = time.monotonic() - begun
        wait("the second has all", lambda: other.has_all(options.files + 1))
        took = time.monotonic() - begun
        if not same(ours.folder, other.folder):
            sys.exit("syncthing: the files differ")
        return took, scanned
    finally:
        for one in (ours, other):
            one.end()


class Node:
    def __init__(self, program, home, name, inviter=None):
        self.words = [program, "--data-dir", str(home / name)]
        if inviter:
            ticket = re.search(r"nexus1\S*", run(*inviter.words, "-q", "invite")).group(0)
            run(*self.words, "join", ticket, "--name", name)
        listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"]
        listen = [word for address in listen for word in ("--listen", address)]
        up = [*self.words, "--json", "up", "--name", name, "--no-mdns", "--api-addr", "127.0.0.1:0", *listen]
        self.process = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=open(home / f"{name}.log", "w"), text=True)
        if not self.process.stdout.readline():
            sys.exit(f"{name} did not start: {(home / f'{name}.log').read_text()[-500:]}")

    def ask(self, *words):
        return json.loads(run(*self.words, "--json", *words))

    def is_up(self):
        return any(peer["state"] == "up" for peer in self.ask("peers"))


def ours(source, home, program):
    home.mkdir()
    one = Node(program, home, "one")
    two = Node(program, home, "two", one)
    try:
        wait("both are connected", lambda: one.is_up() and two.is_up())
        begun = time.monotonic()
        blob = one.ask("blob", "add", str(source))["hash"]
        added = time.monotonic() - begun
        two.ask("blob", "get", blob, "-o", str(home / "got"))
        took = time.monotonic() - begun
        if not same(source, home / "got"):
            sys.exit("nexus: the files differ")
        return took, added
    finally:
        for node in (one, two):
            node.process.kill()
            node.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--mib", type=int, default=256)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        times = []
        for name, first in (("syncthing", "scanned"), ("nexus", "added")):
            source, home = options.directory / "source", options.directory / name
            source.mkdir()
            make(source, options)
            took, begin = theirs(source, home, options) if name == "syncthing" else ours(source, home, options.program)
            times.append(took)
            print(f"round {number + 1}, {name}: {took:.2f} s, of which {first} in {begin:.2f} s", flush=True)
            shutil.rmtree(source)
            shutil.rmtree(home)
        ratios.append(times[0] / times[1])
    print(f"syncthing to nexus, median: {statistics.median(ratios):.2f}", [round(ratio, 2) for ratio in ratios])


if __name__ == "__main__":
    main()
