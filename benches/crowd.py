"""The measurement of `crowd.sh`, inside of a network namespace of its own.

    crowd.py PROGRAM DIRECTORY [--nodes 5] [--settle 60] [--seconds 60] [--load] [--kinds] [--old PROGRAM] [--soak SECONDS]
             [--faults ROUNDS]
"""

import argparse
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

# Figures of version 0.1.0 by the same measure: bytes/s on a directed pair at rest, wire per update, the seconds of 400
# updates of four nodes on all, and the milliseconds of one write on all (p95).
BEFORE = {5: (1274, 6.8, 1.0, 8), 10: (1430, 8.4, 2.1, 16), 20: (1367, 12.2, 5.8, 43), 40: (1454, 21.1, 24.6, 451)}
PAYLOAD_BYTES = 300
WRITES = 400
WRITERS = 4
SINGLE_WRITES = 100


def run(*words, **options):
    ended = subprocess.run(words, capture_output=True, text=True, **options)
    if ended.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{ended.stderr or ended.stdout}")
    return ended.stdout


def text():
    return os.urandom(PAYLOAD_BYTES // 2).hex()


class Node:
    """A node in a namespace of its own, with one interface on the bridge."""

    def __init__(self, program, directory, number):
        self.program, self.directory, self.number = program, directory / f"n{number}", number
        self.name, self.address = f"n{number}", f"10.77.{number // 200}.{number % 200 + 1}"
        self.mac = f"02:77:00:00:{number // 256:02x}:{number % 256:02x}"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.inside = ["nsenter", "--net", f"--target={self.holder.pid}"]
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "link", "set", f"v{number}", "master", "bridge0", "up")
        quiet = "for all in all default; do echo 1 > /proc/sys/net/ipv6/conf/$all/disable_ipv6; done"
        subprocess.run([*self.inside, "sh", "-c", quiet], stderr=subprocess.DEVNULL)
        for words in (
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "address", self.mac],
            ["addr", "add", f"{self.address}/16", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
        ):
            run(*self.inside, "ip", *words)

    def know(self, others):
        """Names the link addresses of others. The kernel keeps 1,024 that it learns, in all namespaces together."""
        lines = [f"neigh replace {other.address} lladdr {other.mac} dev eth0 nud permanent" for other in others]
        run(*self.inside, "ip", "-batch", "-", input="\n".join(lines))

    def command(self, *words):
        return [*self.inside, self.program, "--data-dir", str(self.directory), *words]

    def up(self, *words):
        self.words = words
        listen = [f"/ip4/{self.address}/udp/4001/quic-v1", f"/ip4/{self.address}/tcp/4001"]
        listen = [word for address in listen for word in ("--listen", address)]
        words = ["--json", "up", "--name", self.name, "--no-mdns", "--api-addr", "127.0.0.1:7777", *listen, *words]
        log = open(self.directory.with_suffix(".log"), "a")
        self.process = subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, stderr=log, text=True)
        if not self.process.stdout.readline():
            sys.exit(f"{self.name} did not start: {self.directory.with_suffix('.log').read_text()[-500:]}")
        self.token = (self.directory / "api-token").read_text().strip()
        self.connection = None

    def ask(self, method, path, body=None, missing=False):
        """Asks the node; the socket is opened inside of its namespace. `None` where something may be `missing`, and is."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", 7777, timeout=60)
            with Inside(self.holder.pid):
                self.connection.connect()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status == 404 and missing:
            return None
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text}")
        return text

    def holds(self, memory):
        """Whether it has a memory: the cheapest question, as asking must not be what is measured."""
        return self.ask("GET", f"/v1/memories/{memory}", missing=True) is not None

    def peers(self):
        peers = json.loads(self.ask("GET", "/v1/peers"))
        return peers.get("peers", peers) if isinstance(peers, dict) else peers

    def status(self):
        return json.loads(self.ask("GET", "/v1/status"))

    def kill_and_start(self):
        self.process.kill()
        self.process.wait()
        self.up(*self.words)

    def digest(self):
        """A hash over all memories that it shows, and their number."""
        found, after = [], ""
        while after is not None:
            page = json.loads(self.ask("GET", f"/v1/memories?limit=1000{after}"))
            found += [(one["id"], one["text"]) for one in page["items"]]
            after = f"&after={page['next']}" if page.get("next") else None
        return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()[:16], len(found)

    def term(self):
        found = re.search(r"^nexus_coordinator_term (\d+)$", self.ask("GET", "/metrics"), re.M)
        return int(found.group(1)) if found else None

    def kinds(self):
        """The bytes by protocol, kind and direction, as the node counts them."""
        line = re.compile(r'nexus_wire_bytes_total\{protocol="(.*)",kind="(.*)",direction="(.*)"\} (\d+)')
        found = (line.match(one) for one in self.ask("GET", "/metrics").splitlines())
        return {one.group(1, 2, 3): int(one.group(4)) for one in found if one}

    def wakeups(self):
        """How often its tasks were woken, by task."""
        found = re.findall(r'^nexus_wakeups_total\{task="(.*)"\} (\d+)$', self.ask("GET", "/metrics"), re.M)
        return {task: int(count) for task, count in found}

    def interface(self):
        """Bytes that the node has sent and received."""
        figures = re.search(rf"^ *v{self.number}:(.*)$", pathlib.Path("/proc/net/dev").read_text(), re.M).group(1).split()
        return int(figures[0]), int(figures[8])

    def switches(self):
        """Voluntary context switches of its threads, and the nanoseconds that they ran."""
        count = 0
        for thread in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                status = (thread / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                # it ended meanwhile
                continue
            count += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M).group(1))
        # the time of threads that ended is in there, too
        spent = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ran = (int(spent[11]) + int(spent[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        return count, ran

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) << 10


class Inside:
    """Moves this thread into another network namespace for a while."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.enter(os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY))

    def __exit__(self, *_):
        self.enter(self.home)

    @staticmethod
    def enter(descriptor):
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)


def wait(what, until, every=0.2, within=180):
    end = time.monotonic() + within
    while not until():
        if time.monotonic() > end:
            sys.exit(f"not within {within} s: {what}")
        time.sleep(every)


def synced(nodes):
    for node in nodes:
        if sum(1 for peer in node.peers() if peer["state"] == "up" and peer["synced"]) < len(nodes) - 1:
            return False
    return True


def begin(options, directory):
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge0", "type", "bridge")
    subprocess.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"], stderr=subprocess.DEVNULL)
    run("ip", "link", "set", "bridge0", "up")
    programs = [options.program] * (options.nodes - 1) + [options.old or options.program]
    nodes = [Node(program, directory, number) for number, program in enumerate(programs)]
    if options.nodes > 30:
        for node in nodes:
            node.know(other for other in nodes if other is not node)
    nodes[0].up()
    for node in nodes[1:]:
        invited = run(*nodes[0].command("-q", "invite"))
        ticket = re.search(r"nexus1\S*", invited).group(0)
        run(*node.command("join", ticket, "--name", node.name))
        node.up()
    wait("all nodes are connected and hold the same", lambda: synced(nodes))
    return nodes


def counted(nodes):
    return [(node.interface(), node.switches()) for node in nodes]


def rest(nodes, options):
    # the voters and the copies are those of a settled mesh by then
    time.sleep(options.settle)
    terms = {node.term() for node in nodes}
    leads = [node.status()["role"] == "leader" for node in nodes]
    kinds = [node.kinds() for node in nodes] if options.kinds else []
    wakeups = [node.wakeups() for node in nodes] if options.kinds else []
    before, begun = counted(nodes), time.monotonic()
    time.sleep(options.seconds)
    after, took = counted(nodes), time.monotonic() - begun
    others = len(nodes) - 1
    if {node.term() for node in nodes} != terms or len(terms) > 1:
        print(f"there were elections: terms {terms}, then {[node.term() for node in nodes]}")
    rates = [[(b - a) / took / others for a, b in zip(x[0], y[0])] for x, y in zip(before, after)]
    mean = sum(sent for sent, _ in rates) / len(nodes)
    old = BEFORE.get(len(nodes), ("", "", "", ""))
    print(f"{len(nodes)} nodes at rest for {took:.0f} s")
    print(f"{'bytes/s on a directed pair':45}{mean:10.0f}{old[0]:>10}")
    for node, (sent, received), leader in zip(nodes, rates, leads):
        if leader:
            print(f"{'bytes/s on the leader’s pairs, out and in':45}{sent:10.0f}{received:10.0f}")
    of = [((y[1][0] - x[1][0]) / took, (y[1][1] - x[1][1]) / took / 1e7) for x, y in zip(before, after)]
    print(f"{'voluntary switches a second: leader, others':45}", end="")
    print(*(f"{one:.1f}" for (one, _), _ in sorted(zip(of, leads), key=lambda pair: not pair[1])[:12]))
    print(f"{'processor, % of a core: mean, most':45}{sum(c for _, c in of) / len(of):10.3f}{max(c for _, c in of):10.3f}")
    print(f"{'resident MiB: mean':45}{sum(node.resident() for node in nodes) / len(nodes) / 2**20:10.1f}")
    if options.kinds:
        by_kind(nodes, kinds, took * others * len(nodes))
        by_task(nodes, wakeups, took * len(nodes))
    sys.stdout.flush()


def grown(after, before):
    """By how much counts of all nodes have grown together, the most first."""
    totals = {}
    for now, then in zip(after, before):
        for key, value in now.items():
            totals[key] = totals.get(key, 0) + value - then.get(key, 0)
    return sorted(totals.items(), key=lambda pair: -pair[1])


def by_kind(nodes, before, per):
    """Prints the bytes sent since then, by protocol and kind, each divided by `per`."""
    for (protocol, kind, direction), value in grown([node.kinds() for node in nodes], before):
        if direction == "out" and value:
            print(f"  {protocol + ' ' + kind:43}{value / per:10.3g}")


def by_task(nodes, before, per):
    """Prints how often tasks were woken since then, each divided by `per`."""
    for task, count in grown([node.wakeups() for node in nodes], before)[:12]:
        if count:
            print(f"  {'wake-ups of ' + task:43}{count / per:10.3g}")


def load(nodes, options):
    import threading

    def write(node, ids, count):
        for _ in range(count):
            ids.append(json.loads(node.ask("POST", "/v1/memories", {"text": text()}))["id"])

    def entries(node):
        figures = re.findall(r"^nexus_records\{.*\} (\d+)$", node.ask("GET", "/metrics"), re.M)
        return sum(map(int, figures))

    start = entries(nodes[0])
    kinds = [node.kinds() for node in nodes] if options.kinds else []
    wakeups = [node.wakeups() for node in nodes] if options.kinds else []
    before, begun, ran = [node.interface()[0] for node in nodes], time.monotonic(), [node.switches()[1] for node in nodes]
    writers = [threading.Thread(target=write, args=(node, [], WRITES // WRITERS)) for node in nodes[:WRITERS]]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    written = time.monotonic() - begun
    wait("all have all", lambda: all(entries(node) >= start + WRITES for node in nodes), every=0.05)
    took = time.monotonic() - begun
    # acknowledgements may come later
    time.sleep(5)
    sent = sum(node.interface()[0] - then for node, then in zip(nodes, before))
    cost = sum(node.switches()[1] - then for node, then in zip(nodes, ran)) / 1e6 / WRITES / len(nodes)
    old = BEFORE.get(len(nodes), ("", "", "", ""))
    least = PAYLOAD_BYTES * (len(nodes) - 1) * WRITES
    print(f"{'wire per update / (payload x (n - 1))':45}{sent / least:10.1f}{old[1]:>10}")
    if options.kinds:
        by_kind(nodes, kinds, least)
        by_task(nodes, wakeups, WRITES * len(nodes))
    print(f"{'processor ms per update and node':45}{cost:10.2f}")
    print(f"{'seconds: 400 updates of four nodes on all':45}{took:10.1f}{old[2]:>10}")
    print(f"{'  their answers':45}{written:10.1f}")
    times, floor, former = [], [], None
    for number in range(SINGLE_WRITES):
        node, written = nodes[number % len(nodes)], []
        if former:
            # the questions alone, of what all have
            begun = time.monotonic()
            for other in nodes:
                other.holds(former)
            floor.append((time.monotonic() - begun) * 1e3)
        begun = time.monotonic()
        write(node, written, 1)
        for other in nodes:
            while not other.holds(written[0]):
                time.sleep(0.001)
        times.append((time.monotonic() - begun) * 1e3)
        former = written[0]
        time.sleep(0.05)
    times.sort()
    floor.sort()
    print(f"{'ms: one write on all, p95':45}{times[int(len(times) * 0.95)]:10.0f}{old[3]:>10}")
    print(f"{'  the questions alone, p95':45}{floor[int(len(floor) * 0.95)]:10.0f}")
    print(f"{'resident MiB: mean':45}{sum(node.resident() for node in nodes) / len(nodes) / 2**20:10.1f}")


def soak(nodes, options):
    """Writes, edits and forgets on four nodes, and kills one of the others every half minute. Then all must show the same."""
    import threading

    end, lock, counts = time.monotonic() + options.soak, threading.Lock(), {"written": 0, "edited": 0, "forgotten": 0, "killed": 0}

    def count(what):
        with lock:
            counts[what] += 1

    def write(node):
        chance, kept = random.Random(node.number), []
        while time.monotonic() < end:
            roll = chance.random()
            if kept and roll < 0.1:
                node.ask("DELETE", f"/v1/memories/{kept.pop(chance.randrange(len(kept)))}")
                count("forgotten")
            elif kept and roll < 0.3:
                node.ask("PATCH", f"/v1/memories/{chance.choice(kept)}", {"text": text()})
                count("edited")
            else:
                kept.append(json.loads(node.ask("POST", "/v1/memories", {"text": text()}))["id"])
                count("written")
            time.sleep(0.2)

    def kill():
        chance = random.Random(0)
        while time.monotonic() + 30 < end:
            time.sleep(30)
            chance.choice(nodes[WRITERS:]).kill_and_start()
            count("killed")

    def residents():
        found = sorted(node.resident() / 2**20 for node in nodes)
        return f"{sum(found) / len(found):.1f} MiB a node, {found[-1]:.1f} at most"

    print(f"soak: {len(nodes)} nodes for {options.soak:.0f} s, at first {residents()}", flush=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        working = [pool.submit(write, node) for node in nodes[:WRITERS]] + [pool.submit(kill)]
        while concurrent.futures.wait(working, timeout=60).not_done:
            print(f"  {residents()}; {', '.join(f'{count} {what}' for what, count in counts.items())}", flush=True)
        for one in working:
            # one that failed fails the soak
            one.result()
    print(f"  {residents()}; {', '.join(f'{count} {what}' for what, count in counts.items())}", flush=True)
    begun = time.monotonic()
    wait("all show the same", lambda: len({node.digest() for node in nodes}) == 1, every=1)
    digest, memories = nodes[0].digest()
    print(f"all {len(nodes)} show the same {memories} memories after {time.monotonic() - begun:.1f} s: {digest}")
    time.sleep(60)
    print(f"a minute later: {residents()}", flush=True)


def seconds_until(all_of, within=60):
    """The seconds until each of these questions was answered with yes; they are asked by a thread each."""
    begun = time.monotonic()

    def asks(question):
        wait("a fault is seen", question, every=0.01, within=within)
        return time.monotonic() - begun

    with concurrent.futures.ThreadPoolExecutor(len(all_of)) as pool:
        return list(pool.map(asks, all_of))


def faults(nodes, options):
    """Kills nodes and cuts their lines, by turns; then 10,000 keys end together."""
    found = {what: [] for what in ("killed, seen by all", "vanished, seen by all", "leader killed, a write", "leader vanished, a write")}

    def leader():
        leads = [node for node in nodes if node.status()["role"] == "leader"]
        return leads[0] if len(leads) == 1 else None

    def healthy():
        # each has a connection of its own to each other, and the group has agreed since
        return synced(nodes) and leader() and written(nodes[0])()

    def lost(viewer, node):
        return lambda: all(peer["state"] != "up" for peer in viewer.peers() if peer["name"] == node.name)

    def written(node):
        def is_written():
            try:
                node.ask("PUT", "/v1/kv/after", {"value": "x"})
            except RuntimeError:
                return False
            return True

        return is_written

    for _ in range(options.faults):
        for what in found:
            wait("the mesh is whole", healthy)
            time.sleep(options.settle)
            lead = leader()
            node = lead if "leader" in what else next(node for node in reversed(nodes) if node is not lead)
            others = [other for other in nodes if other is not node]
            for other in others:
                # its socket is open before
                other.status()
            if "killed" in what:
                node.process.kill()
            else:
                run("ip", "link", "set", f"v{node.number}", "down")
            if "write" in what:
                found[what].append(min(seconds_until([written(other) for other in others])))
            else:
                found[what].append(max(seconds_until([lost(other, node) for other in others])))
            if "killed" in what:
                node.process.wait()
                node.up(*node.words)
            else:
                run("ip", "link", "set", f"v{node.number}", "up")
    print(f"{'seconds, of ' + str(options.faults) + ' each':45}{'median':>10}{'most':>10}")
    for what, times in found.items():
        print(f"{what:45}{sorted(times)[len(times) // 2]:10.2f}{max(times):10.2f}", flush=True)
    wait("the mesh is whole", healthy)
    keys_end(nodes)


def keys_end(nodes, count=10_000, at_once=100):
    end = time.monotonic() + 30
    for first in range(0, count, at_once):
        node = nodes[first // at_once % len(nodes)]
        ttl = f"{(end - time.monotonic()) * 1e3:.0f}ms"
        puts = [{"put": {"key": f"ends/{number}", "value": "x", "ttl": ttl}} for number in range(first, first + at_once)]
        node.ask("POST", "/v1/kv", {"checks": [], "then": puts})
    if time.monotonic() > end - 2:
        raise SystemExit("the keys took too long to write")

    def gone(node):
        return lambda: not json.loads(node.ask("GET", "/v1/kv?prefix=ends/&limit=1"))["items"]

    wait("the keys end", lambda: time.monotonic() > end - 0.5, every=0.01)
    if gone(nodes[0])():
        raise SystemExit("keys ended before their time")
    late = seconds_until([gone(node) for node in nodes])
    print(f"{f'{count} keys that end together, all gone':45}{max(late) - 0.5:10.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--settle", type=float, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--old", help="an earlier program, for the last node")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--soak", type=float, default=0, help="seconds of writes and kills, instead of the other measures")
    parser.add_argument("--faults", type=int, default=0, help="rounds of kills and cut lines, instead of the other measures")
    options = parser.parse_args()
    os.environ.setdefault("NEXUS_VOTER_SETTLE_MS", "1000")
    nodes = begin(options, options.directory)
    try:
        if options.soak:
            soak(nodes, options)
        elif options.faults:
            faults(nodes, options)
        else:
            rest(nodes, options)
        if options.load:
            load(nodes, options)
    finally:
        for node in nodes:
            node.process.send_signal(signal.SIGKILL)
            node.holder.kill()


if __name__ == "__main__":
    main()
