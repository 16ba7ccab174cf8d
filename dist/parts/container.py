"""The container: a context that any builder takes, and the image where a builder works here."""

import pathlib
import shutil
import subprocess
import tempfile

from .files import Directory, File, tar_gz, write_tree
from .problem import run, say

CONTAINERFILE = pathlib.Path(__file__).resolve().parent.parent / "Containerfile"
BUILDERS = ["docker", "podman", "buildah"]


def write(packed, out):
    if packed.target.os != "linux":
        return
    if packed.glibc:
        say("container  not made: the program needs libraries, and the image has none")
        return
    context = {
        "Containerfile": File(CONTAINERFILE.read_bytes()),
        "nexus-node": packed.executable(),
        "licences/THIRD-PARTY.txt": File(packed.texts["THIRD-PARTY.txt"]),
        "licences/LICENSE-APACHE": File(packed.texts["LICENSE-APACHE"]),
        "licences/LICENSE-MIT": File(packed.texts["LICENSE-MIT"]),
        # COPY gives these to the account of the node
        "own/data": Directory(0o700),
        "own/tmp": Directory(0o700),
    }
    path = out / f"nexus-node-{packed.version}-{packed.target.triple}-container.tar.gz"
    path.write_bytes(tar_gz(context, packed.epoch))
    say(f"container  {path.name}")
    image(packed, context)


def image(packed, context):
    """Builds the image into the builder's own store."""
    builder = next(filter(works, BUILDERS), None)
    if not builder:
        say(f"image      not built: none of {', '.join(BUILDERS)} works here")
        return
    tag = f"nexus-node:{packed.version}"
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary, "context")
        root.mkdir()
        write_tree(context, root, packed.epoch)
        options = ["--platform", packed.target.container, "--tag", tag, "--file", root / "Containerfile"]
        run([builder, "build", *options, root], "the image was not built")
    say(f"image      {tag}, in the store of {builder}")


def works(builder):
    """Whether it is here, and its daemon answers if it has one."""
    if not shutil.which(builder):
        return False
    try:
        asked = subprocess.run([builder, "info"], capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
