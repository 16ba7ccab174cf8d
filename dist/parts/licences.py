"""The licences of others whose code is in the program: all ask that their words travel with it."""

import collections
import json
import pathlib
import re

from .problem import run

NAMES = re.compile(r"(?i)^(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?$")
TEXT_BYTES_MAX = 1 << 18

HEAD = """\
nexus-node contains code of these packages, under their licences. "A OR B" leaves the choice.
Their words follow the list. Where a package has none of its own, the words are those of the
licence that is named.

It also contains Rust's standard library, MIT OR Apache-2.0, https://www.rust-lang.org.
"""
GLIBC = """\
On Linux it contains the GNU C Library, LGPL-2.1-or-later, https://www.gnu.org/software/libc.
You may link it with another version of that library: the source of nexus-node builds with yours.
"""


def of(root, target):
    """The list with all texts, each once."""
    packages = packages_of(root, target)
    texts = collections.defaultdict(list)
    lines = []
    for package in packages:
        by = f", {package['repository']}" if package["repository"] else ""
        licence = package["license"] or f"see {package['license_file']}"
        lines.append(f"{package['name']} {package['version']}: {licence}{by}\n")
        for text in texts_of(pathlib.Path(package["manifest_path"]).parent):
            texts[text].append(package["name"])
    parts = [HEAD, GLIBC if target.os == "linux" else "", "\n", *lines]
    for text, names in texts.items():
        parts.append(f"\n{'=' * 100}\n{', '.join(sorted(set(names)))}\n\n{text}\n")
    return "".join(parts).encode()


def texts_of(directory):
    files = sorted(path for path in directory.iterdir() if NAMES.match(path.name) and path.is_file())
    texts = [path.read_bytes()[:TEXT_BYTES_MAX].decode(errors="replace") for path in files]
    return [text.replace("\r\n", "\n").strip("\n") for text in texts if text.strip()]


def packages_of(root, target):
    """Others' packages that the program is linked with, in order of their names."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target.triple]
    hint = "cargo knows the licences; it needs the packages' sources, which a build fetches"
    metadata = json.loads(run(command, "the licences are not known", hint, cwd=root))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in packages.items() if package["name"] == "nexus-node-cli"]
    seen = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if linked and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    theirs = [packages[id] for id in seen if packages[id]["source"]]
    return sorted(theirs, key=lambda package: (package["name"], package["version"]))
