"""Runs our documents, samod's and automerge-repo's in turn, and prints medians with their ratios (`documents.sh` builds all)."""

import argparse
import json
import os
import statistics
import subprocess
import sys

CHARACTERS = 10_000
# where samod makes a change of each character, its time grows with the square of their number: 10,000 take it a minute
FEW = 2_000
OURS = "nexus"
# our speed to theirs
GOALS = {"samod, together": 1.0, "automerge-repo, together": 2.0}


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("samod")
    parser.add_argument("typing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-typing", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def said(*command):
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=1_800, check=True)
    return json.loads(ended.stdout)


def typed(*command, characters=CHARACTERS):
    answer = said(*command, str(characters))
    return {"speed": answer["characters_per_second"], "changes": answer["changes"]}


def ours(arguments):
    rows = {row["figure"]: row["value"] for row in said(arguments.bench, "typing", "--json")}
    speed = next(value for figure, value in rows.items() if "seen on the other node" in figure)
    return {"speed": speed, "changes": rows["changes that they became"]}


def main():
    arguments = parse()
    ways = {
        OURS: lambda: ours(arguments),
        "samod, together": lambda: typed(arguments.samod, "together"),
        f"samod, each, {FEW:,} only": lambda: typed(arguments.samod, "each", characters=FEW),
        "automerge-repo, together": lambda: typed("node", arguments.typing, "together"),
        "automerge-repo, each": lambda: typed("node", arguments.typing, "each"),
    }
    rounds = {name: [] for name in ways}
    for number in range(arguments.rounds):
        # each is the first once: what comes first finds another machine than what comes last
        names = list(ways)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rounds[name].append(ways[name]())
            print(f"round {number + 1}, {name}: {rounds[name][-1]['speed']:,.0f}/s", file=sys.stderr)
    own = statistics.median(turn["speed"] for turn in rounds[OURS])
    table = []
    for name, turns in rounds.items():
        speeds = [turn["speed"] for turn in turns]
        # of each round, as the machine's speed changes between rounds
        ratios = [mine["speed"] / theirs["speed"] for mine, theirs in zip(rounds[OURS], turns)]
        table.append(
            {
                "name": name,
                "characters_per_second": speeds,
                "median": statistics.median(speeds),
                "changes": statistics.median(turn["changes"] for turn in turns),
                "ours_to_it": own / statistics.median(speeds),
                "ratio_of_rounds": statistics.median(ratios),
                "asked": GOALS.get(name),
            }
        )
    rows = [] if arguments.only_typing else said(arguments.bench, "documents", "--json")
    if arguments.json:
        print(json.dumps({"typing": table, "documents": rows, "load": os.getloadavg()}, indent=2))
        return
    print(f"{CHARACTERS:,} characters, a second until the other end has them, {arguments.rounds} rounds in turn:\n")
    print("| | median | lowest to highest | changes | ours to it | asked |")
    print("|---|---|---|---|---|---|")
    for row in table:
        speeds = row["characters_per_second"]
        asked = f"≥ {row['asked']:g}" if row["asked"] else ""
        print(
            f"| {row['name']} | {row['median']:,.0f}/s | {min(speeds):,.0f} to {max(speeds):,.0f} | "
            f"{row['changes']:,.0f} | {row['ratio_of_rounds']:.2f} | {asked} |"
        )
    if rows:
        print("\n| figure | asked | measured | floor in the same run |")
        print("|---|---|---|---|")
    for row in rows:
        asked = "".join(f"{'≥' if kind == 'at_least' else '<'} {bound:.3g}" for kind, bound in (row["asked"] or {}).items())
        floor = f"{row['floor']['value']:,.3g} {row['floor']['name']}" if row["floor"] else ""
        print(f"| {row['figure']} | {asked} | {row['value']:,.4g} {row['unit']} | {floor} |")


main()
