"""install.sh, with the version, the address and the public half of the key built in."""

import pathlib
import re

from .problem import Problem, say

TEMPLATE = pathlib.Path(__file__).resolve().parent.parent / "install.sh"
URL = re.compile(r"https?://[A-Za-z0-9.\-_~:/\[\]%+]+")


def checked_url(url):
    """The address without a slash at its end. It goes into a script, so only plain characters may be in it."""
    if url is None:
        return ""
    if not URL.fullmatch(url):
        raise Problem("usage", f"{url!r} is not an address for --url", "such as https://example.org/nexus")
    return url.rstrip("/")


def write(out, version, key, url):
    values = {
        "VERSION": version,
        "URL": url,
        "KEY_OPENSSL": key.openssl if key else "",
        "KEY_SSH": key.ssh if key else "",
    }
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text, found = re.subn(rf"(?m)^{name}=''$", lambda _: f"{name}='{value}'", text)
        if found != 1:
            raise Problem("failed", f"{TEMPLATE} has no line {name}=''")
    path = out / "install.sh"
    path.write_text(text)
    path.chmod(0o755)
    say(f"script     {path.name}")
