"""The end of a release: all that covers several packages, then the checksums, then the signature."""

import hashlib
import re

from . import npm, program, script
from .problem import Problem, say

SUMS = "SHA256SUMS"
SIGNATURES = [f"{SUMS}.sig", f"{SUMS}.sshsig"]
# No package is near; more would be a mistake.
PACKAGE_BYTES_MAX = 256 << 20


def seal(root, out, key, url):
    if not out.is_dir():
        raise Problem("not_found", f"{out} is not a directory", "`dist/build` makes packages")
    version, epoch = program.version_of(root), program.epoch_of(root)
    packages(out, version)
    npm.write_wrapper(root, out, version, epoch)
    script.write(out, version, key, url)
    sums = "".join(f"{checksum(path)}  {path.name}\n" for path in packages(out, version)).encode()
    for name in SIGNATURES:
        (out / name).unlink(missing_ok=True)
    (out / SUMS).write_bytes(sums)
    if key:
        (out / SIGNATURES[0]).write_bytes(key.signed(sums))
        (out / SIGNATURES[1]).write_bytes(key.signed_for_ssh(sums))
        say(f"signed     {SUMS} by {key.openssl}")
    else:
        say("not signed: --key names the key; install.sh goes by checksums alone, with --unsigned")
    print(out)


def packages(out, version):
    """The files to vouch for: packages of this version, at least one archive, and nothing else."""
    spelled = f"({re.escape(version)}|{re.escape(version.replace('-', '~'))})"
    name = re.compile(rf"install\.sh|nexus-node[-_]([a-z0-9-]+-)?{spelled}([-_][A-Za-z0-9_-]+)?\.(tar\.gz|tgz|deb)")
    found = [path for path in sorted(out.iterdir()) if path.name not in [SUMS, *SIGNATURES]]
    for path in found:
        if not name.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            raise Problem("refused", f"{path} is no package of version {version}", "take away what is not to be signed")
        if path.stat().st_size > PACKAGE_BYTES_MAX:
            raise Problem("refused", f"{path} is larger than {PACKAGE_BYTES_MAX >> 20} MiB", "is it stripped?")
    if not any(path.name.startswith(f"nexus-node-{version}-") for path in found):
        raise Problem("not_found", f"{out} has no archive of version {version}", "`dist/build` makes one")
    return found


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
