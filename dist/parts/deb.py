"""The package for Debian and its like. It starts nothing: `nexus-node service install` does."""

import hashlib
import os
import pathlib
import shutil
import tempfile

from .files import File, gzip_of, write_tree
from .problem import run, say

CONTROL = """\
Package: nexus-node
Version: {version}
Architecture: {architecture}
Maintainer: The Nexus contributors
Installed-Size: {kib}
{depends}Section: net
Priority: optional
Description: one memory for all your agents, no server
 A node of a Nexus mesh: daemon, command line, MCP server and page in one
 program. Nodes find each other and copy every memory to all of them. Members
 alone see it. Keys and locks are decided by a quorum.
 .
 Nothing is started by this package. "nexus-node service install" makes the
 node a service of the system, and "nexus-node service remove" ends that.
"""

# Places of the same pages in a Debian system.
PLACES = {"zsh/site-functions/": "zsh/vendor-completions/"}


def write(packed, out):
    if not packed.target.deb:
        return
    if not shutil.which("dpkg-deb"):
        say("deb        not made: dpkg-deb is not here")
        return
    version = packed.version.replace("-", "~")
    path = out / f"nexus-node_{version}_{packed.target.deb}.deb"
    files = contents(packed)
    files["DEBIAN/md5sums"] = File(md5sums(files))
    files["DEBIAN/control"] = File(control(packed, version, files).encode())
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary, "tree")
        tree.mkdir(mode=0o755)
        write_tree(files, tree, packed.epoch)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(packed.epoch)}
        run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, path], "the .deb was not made", env=environment)
    say(f"deb        {path.name}")


def contents(packed):
    files = {"usr/bin/nexus-node": packed.executable()}
    for path, data in packed.pages.items():
        for ours, theirs in PLACES.items():
            path = path.replace(ours, theirs)
        # Debian's policy wants manuals compressed
        if path.startswith("man/"):
            path, data = f"{path}.gz", gzip_of(data)
        files[f"usr/share/{path}"] = File(data)
    documents = "usr/share/doc/nexus-node"
    licences = [packed.texts[name] for name in ["LICENSE-APACHE", "LICENSE-MIT"]]
    files[f"{documents}/copyright"] = File(b"Licensed under either of these two, as you like.\n\n" + b"\n".join(licences))
    for name in ["THIRD-PARTY.txt", "CHANGELOG.md"]:
        files[f"{documents}/{name}.gz"] = File(gzip_of(packed.texts[name]))
    return files


def md5sums(files):
    """Whereby `dpkg --verify` sees a changed file."""
    lines = [f"{hashlib.md5(file.data).hexdigest()}  {name}\n" for name, file in sorted(files.items())]
    return "".join(lines).encode()


def control(packed, version, files):
    kib = sum(-(-len(file.data) // 1024) for file in files.values())
    depends = f"Depends: libc6 (>= {packed.glibc}), libgcc-s1\n" if packed.glibc else ""
    return CONTROL.format(version=version, architecture=packed.target.deb, kib=kib, depends=depends)
