"""Errors as the program itself tells them: a message, a hint, an exit code."""

import subprocess
import sys

EXITS = {"failed": 1, "usage": 2, "refused": 4, "not_found": 5, "exists": 7}


class Problem(Exception):
    """Nothing was signed, and the packages are not complete."""

    def __init__(self, code, message, hint=None):
        super().__init__(message)
        self.code, self.hint = code, hint

    def tell(self):
        """Prints it, and returns the exit code."""
        say(f"error: {self}")
        if self.hint:
            say(f"hint: {self.hint}")
        return EXITS[self.code]


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, why, hint=None, **more):
    """The standard output of a command that must succeed."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=False, **more)
    except OSError as error:
        raise Problem("failed", f"{why}: {command[0]}: {error.strerror}", hint) from error
    if done.returncode != 0:
        raise Problem("failed", f"{why}: {command[0]} ended with {done.returncode}", hint)
    return done.stdout
