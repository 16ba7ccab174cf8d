"""The archive that install.sh unpacks, and that people unpack by hand."""

from .files import File, tar_gz
from .problem import say


def name(packed):
    return f"nexus-node-{packed.version}-{packed.target.triple}.tar.gz"


def write(packed, out):
    top = f"nexus-node-{packed.version}-{packed.target.triple}"
    files = {packed.target.executable: packed.executable()}
    files.update({f"share/{path}": File(data) for path, data in packed.pages.items()})
    files.update({path: File(data) for path, data in packed.texts.items()})
    path = out / name(packed)
    path.write_bytes(tar_gz({f"{top}/{inner}": file for inner, file in files.items()}, packed.epoch))
    say(f"archive    {path.name}")
