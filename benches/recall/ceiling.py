#!/usr/bin/env python3
"""How many words a question in other words shares with its answer and the answer's aliases: a bound for any index of words.

    benches/recall/ceiling.py [DIRECTORY]

Words are cut at signs that are neither letters nor digits. A frequent ending is dropped, and frequent words do not count.
"""

import collections
import json
import pathlib
import re
import sys

FREQUENT = set(
    "a an the is are was were be been of in on at to for from with by and or not no do does did how what which who whom "
    "whose when where why we our us it its this that these those there i you they them he she his her can could should "
    "would will may might must have has had if any some so as than then about into over under up down out off again more "
    "most much many get gets got use used using one der die das ein eine und oder nicht ist sind war wie was wer wo wann "
    "warum wir uns es im in auf zu mit von für den dem".split()
)
ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ers", "ed", "es", "er", "en", "ly", "s", "e")


def stem(word):
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def words(text):
    return {stem(word) for word in re.findall(r"\w+", text.lower()) if len(word) > 1 and word not in FREQUENT}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def main():
    home = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    memories = {memory["id"]: memory for memory in lines(home / "memories.jsonl")}
    aliases = {of["id"]: of["aliases"] for of in lines(home / "aliases.jsonl")}

    def known(answer):
        memory = memories[answer]
        return words(" ".join([memory["text"], *memory.get("tags", []), *aliases.get(answer, [])]))

    for half in ("tuned", "reported"):
        shared = collections.Counter()
        for question in lines(home / f"{half}.jsonl"):
            if question["slice"] == "other":
                asked = words(question["question"])
                shared[min(2, max(len(asked & known(answer)) for answer in question["answers"]))] += 1
        of = sum(shared.values())
        print(f"{half}: {of} questions; no word {shared[0] / of:.2f}, one {shared[1] / of:.2f}, more {shared[2] / of:.2f}")


main()
