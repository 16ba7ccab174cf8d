"""The program to pack: built here or elsewhere, with its manual and completions as it prints them."""

import dataclasses
import os
import pathlib
import re
import subprocess

from . import elf, licences
from .files import File
from .problem import Problem, run, say

SHELLS = {
    "bash": "bash-completion/completions/nexus-node",
    "zsh": "zsh/site-functions/_nexus-node",
    "fish": "fish/vendor_completions.d/nexus-node.fish",
}
TEXTS = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"]
PROGRAM_BYTES_MAX = 256 << 20
# in each build with known bugs for the simulator, and in no other: nexus-identity/src/plants.rs
PLANTS = b"nexus_plants: there are known bugs here!"


@dataclasses.dataclass(frozen=True)
class Packed:
    """All that the packages of one target are made of."""

    version: str
    target: object
    epoch: int
    data: bytes
    # below share/
    pages: dict
    # licences and the first page
    texts: dict
    # the oldest C library that it starts with; none if it needs none
    glibc: str

    def executable(self):
        return File(self.data, 0o755)


def compiled(root, target):
    """Builds the program. On Linux it is one file that needs no library."""
    directory = root / "target" / "dist-build"
    home = os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo"
    # no path of this machine is in the program
    flags = [f"--remap-path-prefix={root}=/nexus", f"--remap-path-prefix={home}=/cargo"]
    if target.os in ("linux", "win32"):
        flags += ["-C", "target-feature=+crt-static"]
    if target.os == "linux":
        # the crate looks for the system call at run time, where a complete program has nothing to look in; it
        # would then need /dev/urandom
        flags += ["--cfg", 'getrandom_backend="linux_getrandom"']
    # kernels for ARM have pages of 4, 16 or 64 KiB; the allocator is built for the largest and works with each
    pages = {"JEMALLOC_SYS_WITH_LG_PAGE": "16"} if (target.os, target.cpu) == ("linux", "arm64") else {}
    command = ["cargo", "build", "--locked", "--profile", "dist", "-p", "nexus-node-cli", "--bin", "nexus-node"]
    say(f"building   {target.triple}: some fifteen minutes the first time")
    run(
        [*command, "--target", target.triple, "--target-dir", directory], "the program was not built",
        "CONTRIBUTING.md says how to build; --binary FILE packs one that is there", cwd=root,
        env={**os.environ, **pages, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)},
    )
    return directory / target.triple / "dist" / target.executable


def read(root, target, binary, pages_from, planted=False):
    """Checks the program, and asks it for its pages."""
    if not binary.is_file():
        raise Problem("not_found", f"{binary} is not there", "--binary names a program nexus-node")
    if binary.stat().st_size > PROGRAM_BYTES_MAX:
        raise Problem("refused", f"{binary} is larger than {PROGRAM_BYTES_MAX >> 20} MiB", "`strip` makes it smaller")
    data, version = binary.read_bytes(), version_of(root)
    if PLANTS in data and not planted:
        raise Problem("refused", f"{binary} has planted bugs in it", "build it without the feature `plants`")
    glibc = elf.glibc(data, target) if target.os == "linux" else ""
    said = ask(pages_from, "--version").decode(errors="replace").partition("\n")[0][:80]
    if said != f"nexus-node {version}":
        raise Problem("refused", f"{pages_from} is {said!r}, and this checkout is {version}", "build it anew")
    texts = {name: (root / name).read_bytes() for name in TEXTS}
    texts["THIRD-PARTY.txt"] = licences.of(root, target)
    kind = f"needs glibc {glibc} or later" if glibc else "needs no library" if target.os == "linux" else "as the system has it"
    say(f"program    {len(data) / 1e6:.1f} MB, {kind}")
    return Packed(version, target, epoch_of(root), data, pages(pages_from), texts, glibc)


def pages(binary):
    """The completions, and a page of the manual for each command."""
    found = {path: ask(binary, "completions", shell) for shell, path in SHELLS.items()}
    found["man/man1/nexus-node.1"] = ask(binary, "man")
    names = re.findall(r"(?m)^  ([a-z][a-z-]*)  ", ask(binary, "--help").decode())
    for name in names:
        found[f"man/man1/nexus-node-{name}.1"] = ask(binary, "man", name)
    if len(names) < 2:
        raise Problem("failed", "the program's help names no commands", "build it anew")
    return found


def ask(binary, *words):
    # of the settings and the node of whoever packs, nothing counts
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    hint = "a program for another machine: name one of this version that runs here with --pages-from"
    return run([binary.resolve(), *words], "the program does not run here", hint, env=quiet, stdin=subprocess.DEVNULL)


def version_of(root):
    """The version of this checkout."""
    found = re.search(r'(?m)^version = "([0-9A-Za-z.+-]+)"$', (root / "Cargo.toml").read_text())
    if not found:
        raise Problem("failed", "Cargo.toml has no version")
    return found.group(1)


def epoch_of(root):
    """The time that files have in packages: SOURCE_DATE_EPOCH, or the time of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        if not given.isascii() or not given.isdigit() or int(given) >= 1 << 32:
            raise Problem("usage", f"SOURCE_DATE_EPOCH is {given!r}", "it is a number of seconds since 1970")
        return int(given)
    try:
        command = ["git", "log", "-1", "--format=%ct"]
        return int(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        say("no commit is here: files have the time 0")
        return 0
