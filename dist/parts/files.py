"""Files of a package, and how they are written: the same files give the same bytes."""

import dataclasses
import gzip
import io
import os
import tarfile


@dataclasses.dataclass(frozen=True)
class File:
    """The bytes of a file, and whether it can be run."""

    data: bytes
    mode: int = 0o644


@dataclasses.dataclass(frozen=True)
class Directory:
    """An empty directory."""

    mode: int = 0o755


def tar_gz(files, epoch):
    """The files as a compressed archive: in order of their names, owned by root, all of one time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in with_parents(files):
            file = files.get(name, Directory())
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = file.mode, epoch
            if isinstance(file, Directory):
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(file.data)
                tar.addfile(entry, io.BytesIO(file.data))
    return gzip_of(plain.getvalue())


def gzip_of(data):
    """Compressed, without a name and a time."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as file:
        file.write(data)
    return packed.getvalue()


def write_tree(files, root, epoch):
    """The files below a directory, with exact modes and one time."""
    names = with_parents(files)
    for name in names:
        path, file = root / name, files.get(name, Directory())
        if isinstance(file, Directory):
            path.mkdir()
        else:
            path.write_bytes(file.data)
        path.chmod(file.mode)
    # directories last: what is made inside changes their time
    for name in reversed(names):
        os.utime(root / name, (epoch, epoch))
    os.utime(root, (epoch, epoch))


def with_parents(files):
    """The names with those of the directories above them, in order."""
    names = set(files)
    for name in files:
        parts = name.split("/")
        names.update("/".join(parts[:end]) for end in range(1, len(parts)))
    return sorted(names)
