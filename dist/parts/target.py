"""The machines that a program can be for, and their names in each kind of package."""

import dataclasses
import platform

from .problem import Problem


@dataclasses.dataclass(frozen=True)
class Target:
    """A target of the compiler."""

    triple: str
    # as npm says it
    os: str
    cpu: str
    # as Debian says it; none for other systems
    deb: str = ""
    # as container builders say it
    container: str = ""

    @property
    def executable(self):
        return "nexus-node.exe" if self.os == "win32" else "nexus-node"


TARGETS = {
    target.triple: target
    for target in [
        Target("x86_64-unknown-linux-gnu", "linux", "x64", deb="amd64", container="linux/amd64"),
        Target("aarch64-unknown-linux-gnu", "linux", "arm64", deb="arm64", container="linux/arm64"),
        Target("x86_64-apple-darwin", "darwin", "x64"),
        Target("aarch64-apple-darwin", "darwin", "arm64"),
        Target("x86_64-pc-windows-msvc", "win32", "x64"),
    ]
}

SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
CPUS = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64", "ARM64": "arm64"}


def this_machine():
    """The triple of this machine."""
    system, cpu = SYSTEMS.get(platform.system()), CPUS.get(platform.machine())
    for target in TARGETS.values():
        if (target.os, target.cpu) == (system, cpu):
            return target.triple
    machine = f"{platform.system()} on {platform.machine()}"
    raise Problem("usage", f"no target is known for {machine}", "--target names one: " + ", ".join(TARGETS))
