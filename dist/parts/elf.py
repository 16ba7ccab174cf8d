"""The little of ELF that a packager must know: for whom a program is, and which C library it needs."""

import re
import struct

from .problem import Problem

MACHINES = {"x64": 62, "arm64": 183}
PT_INTERP = 3


def glibc(data, target):
    """The oldest glibc that has all that the program asks for. Empty for one that is complete in itself."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        raise Problem("refused", "this is no program for 64-bit Linux", "--target says whom it is for")
    if struct.unpack_from("<H", data, 18)[0] != MACHINES[target.cpu]:
        raise Problem("refused", f"this is no program for {target.triple}", "--target says whom it is for")
    if not has_interpreter(data):
        return ""
    versions = {tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+(?:\.\d+)?)\0", data)}
    return ".".join(map(str, max(versions, default=(2, 17))))


def has_interpreter(data):
    """Whether the system must load libraries first."""
    at, (size, count) = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<HH", data, 54)
    if size < 56 or at + size * count > len(data):
        raise Problem("refused", "the program is cut off", "build it anew")
    return any(struct.unpack_from("<I", data, at + size * index)[0] == PT_INTERP for index in range(count))
