"""Signatures over the list of checksums: ed25519, in two forms of one key.

`SHA256SUMS.sig` has the 64 bytes of the signature of the file, as OpenSSL 3 makes and checks them.
`SHA256SUMS.sshsig` is the form of `ssh-keygen -Y verify`. Machines without OpenSSL 3 have it: macOS,
Windows, older systems. Either alone proves the same.
"""

import base64
import hashlib
import os
import pathlib
import struct
import subprocess
import tempfile

from .problem import Problem, run, say

NAMESPACE = b"nexus-node-release"
# The bytes before the 32 of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
SPKI = bytes.fromhex("302a300506032b6570032100")
HINT = "OpenSSL 3 or later signs; `openssl version` says which is here"


def new_key(path):
    made = run(["openssl", "genpkey", "-algorithm", "ed25519"], "no key was made", HINT)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Problem("exists", f"{path} is there already", "a key is never written over; name another file") from None
    with os.fdopen(file, "wb") as file:
        file.write(made)
    key = read(path)
    say(f"wrote {path}: keep it secret, and a copy of it in a safe place")
    print(key.openssl)


def read(path):
    """The key of a file, checked to be of the right kind."""
    if not path.is_file():
        raise Problem("not_found", f"no key is in {path}", f"`dist/build --new-key {path}` makes one")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise Problem("refused", f"others than its owner can read {path}", f"chmod 600 {path}")
    public = subprocess.run(
        ["openssl", "pkey", "-passin", "pass:", "-in", str(path), "-pubout", "-outform", "DER"], stdin=subprocess.DEVNULL,
        capture_output=True, check=False,
    ).stdout
    if len(public) != len(SPKI) + 32 or not public.startswith(SPKI):
        hint = "`dist/build --new-key FILE` makes one; one with a passphrase cannot be used"
        raise Problem("usage", f"{path} is not a private key of ed25519 in PEM", hint)
    return Key(path, public[len(SPKI):])


def text(*parts):
    """Each part behind its length, as RFC 4251 has strings."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class Key:
    """A private key in a file, and its public half."""

    def __init__(self, path, public):
        self.path, self.public = path, public
        self.wire = text(b"ssh-ed25519", public)

    @property
    def openssl(self):
        """The public half as the inside of a PEM file."""
        return base64.b64encode(SPKI + self.public).decode()

    @property
    def ssh(self):
        """The public half as in a file of OpenSSH."""
        return base64.b64encode(self.wire).decode()

    def signed(self, data):
        """The 64 bytes of the signature, checked with the public half."""
        with tempfile.TemporaryDirectory() as temporary:
            message, signature, public = (pathlib.Path(temporary, name) for name in ["message", "signature", "public"])
            message.write_bytes(data)
            public.write_text(f"-----BEGIN PUBLIC KEY-----\n{self.openssl}\n-----END PUBLIC KEY-----\n")
            act = ["openssl", "pkeyutl", "-rawin", "-in", message]
            run([*act, "-sign", "-inkey", self.path, "-out", signature], "nothing was signed", HINT)
            run([*act, "-verify", "-pubin", "-inkey", public, "-sigfile", signature], "the signature is wrong", HINT)
            return signature.read_bytes()

    def signed_for_ssh(self, data):
        """The signature as PROTOCOL.sshsig of OpenSSH has it."""
        digest = hashlib.sha512(data).digest()
        signature = self.signed(b"SSHSIG" + text(NAMESPACE, b"", b"sha512", digest))
        blob = b"SSHSIG" + struct.pack(">I", 1)
        blob += text(self.wire, NAMESPACE, b"", b"sha512", text(b"ssh-ed25519", signature))
        armour = base64.b64encode(blob).decode()
        lines = [armour[at : at + 70] for at in range(0, len(armour), 70)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()
