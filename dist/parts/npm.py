"""Packages for npm: a wrapper that everybody installs, and the program in one package for each platform.

The wrapper names the platforms as optional dependencies; npm takes the one that fits `os` and `cpu`. No
script runs at installation. The files are packed here, as `npm pack` does it, so npm is not needed.
"""

import json
import pathlib
import re

from .files import File, tar_gz
from .problem import say

LAUNCHER = pathlib.Path(__file__).resolve().parent.parent / "npm" / "nexus-node.js"
PLATFORM = re.compile(r"^(nexus-node-(?:linux|darwin|win32)-(?:x64|arm64))-(.+)\.tgz$")


def manifest(name, version, description, **more):
    document = {"name": name, "version": version, "description": description, "license": "MIT OR Apache-2.0", **more}
    return File(json.dumps(document, indent=2).encode() + b"\n")


def write(out, name, version, files, epoch):
    path = out / f"{name}-{version}.tgz"
    path.write_bytes(tar_gz({f"package/{inner}": file for inner, file in files.items()}, epoch))
    say(f"npm        {path.name}")


def write_platform(packed, out):
    """The program for one platform."""
    target = packed.target
    name = f"nexus-node-{target.os}-{target.cpu}"
    description = f"The program nexus-node for {target.triple}; install nexus-node instead"
    files = {path: File(data) for path, data in packed.texts.items() if path != "CHANGELOG.md"}
    files["package.json"] = manifest(
        name, packed.version, description, os=[target.os], cpu=[target.cpu], preferUnplugged=True,
        files=[target.executable],
    )
    files[target.executable] = packed.executable()
    write(out, name, packed.version, files, packed.epoch)


def write_wrapper(root, out, version, epoch):
    """The wrapper for the platforms that lie in the directory. Without any there is none."""
    platforms = [found.group(1) for found in map(PLATFORM.match, names(out)) if found and found.group(2) == version]
    if not platforms:
        return
    files = {name: File((root / name).read_bytes()) for name in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"]}
    files["bin/nexus-node.js"] = File(LAUNCHER.read_bytes(), 0o755)
    files["package.json"] = manifest(
        "nexus-node", version, "One brain for all your agents, no server",
        bin={"nexus-node": "bin/nexus-node.js"}, files=["bin"], engines={"node": ">=18"},
        optionalDependencies={name: version for name in platforms},
    )
    write(out, "nexus-node", version, files, epoch)


def names(out):
    return sorted(path.name for path in out.iterdir())
