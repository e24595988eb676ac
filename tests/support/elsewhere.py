"""A second Python process that knows nothing of the first but what it is sent."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distgraph.serde.pickling import dumps_code, loads

_SERVE = """
import os, struct, sys, traceback
from distgraph.serde import pickling

requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
while head := requests.read(8):
    try:
        function, args = pickling.loads(requests.read(*struct.unpack("Q", head)))
        answer = pickling.dumps((True, function(*args)))
    except BaseException:
        answer = pickling.dumps((False, traceback.format_exc()))
    answers.write(struct.pack("Q", len(answer)) + answer)
    answers.flush()
"""

ROOT = Path(__file__).parents[2]


class Elsewhere:
    """Runs functions in one other process while it is entered."""

    def __init__(self, **environment: str) -> None:
        self._environment = environment

    def __enter__(self) -> Elsewhere:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return ``function(*args)`` as computed there; ``AssertionError`` where that raised."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = dumps_code((function, args))
        self._process.stdin.write(struct.pack("Q", len(request)) + request)
        self._process.stdin.flush()
        head = self._process.stdout.read(8)
        assert len(head) == 8, "the other process died"
        good, result = loads(self._process.stdout.read(*struct.unpack("Q", head)))
        assert good, result
        return result


def main_program(source: str, **names: Any) -> dict[str, Any]:
    """Execute ``source`` as if it were the user's script, and return its globals.

    What it defines belongs to a ``__main__`` that no other process has.
    """
    scope = {"__name__": "__main__", **names}
    exec(compile(source, "<script>", "exec"), scope)
    return scope
