"""Environment variables that the caller's program has set, in the processes of its workers.

What a program sets in ``os.environ``, such as a key, is found by its nodes, as in one process. Left
out are variables that it did not set itself, and those that describe a process or a machine.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = ("give", "set_by_program")

_OF_A_PROCESS = ("DISTGRAPH_", "DYLD_", "LD_", "PYDEVD_", "PYTEST_", "PYTHON", "RAY_")
_OF_A_MACHINE = frozenset(
    {
        "COLUMNS",
        "CONDA_PREFIX",
        "DISPLAY",
        "HOME",
        "HOSTNAME",
        "LINES",
        "LOGNAME",
        "MPLBACKEND",
        "OLDPWD",
        "ONEAPI_DEVICE_SELECTOR",
        "PATH",
        "PWD",
        "SHELL",
        "TEMP",
        "TERM",
        "TMP",
        "TMPDIR",
        "USER",
        "VIRTUAL_ENV",
    }
)
_DEVICES = "_VISIBLE_"
"""Ray decides which accelerators a worker sees."""


# --- at the caller --------------------------------------------------------------------------------


def _of(file: Path) -> dict[bytes, bytes]:
    """Return the environment that this process was started with."""
    now = dict(os.environ._data)  # type: ignore[attr-defined]
    if b"RAY_RAYLET_PID" in now:  # Ray writes the title of the process over it
        return now
    try:
        entries = [entry for entry in file.read_bytes().split(b"\0") if entry]
    except OSError:  # not on Linux
        return now
    if not entries or not all(b"=" in entry for entry in entries):  # another program wrote over it
        return now
    return dict(entry.split(b"=", 1) for entry in entries)


_began: dict[bytes, bytes] = _of(Path("/proc/self/environ"))
_looked_at: dict[bytes, bytes] = {}
_found: tuple[tuple[str, str | None], ...] = ()


def set_by_program() -> tuple[tuple[str, str | None], ...]:
    """Return names and values that this process has set since it began; None is a removed one."""
    global _looked_at, _found
    now: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    if now != _looked_at:
        copied = dict(now)
        _found, _looked_at = tuple(_changes(_began, copied)), copied
    return _found


def _changes(
    before: dict[bytes, bytes], now: dict[bytes, bytes]
) -> Iterable[tuple[str, str | None]]:
    for name in sorted({**before, **now}):
        value = now.get(name)
        if value != before.get(name) and _travels(shown := os.fsdecode(name)):
            yield shown, None if value is None else os.fsdecode(value)


def _travels(name: str) -> bool:
    return not (name.startswith(_OF_A_PROCESS) or name in _OF_A_MACHINE or _DEVICES in name)


# --- on the worker --------------------------------------------------------------------------------

_given: dict[str, str | None] = {}
"""What this process had instead of the variables that it was given."""


def give(variables: Iterable[tuple[str, str | None]], kept: Collection[str] = ()) -> bool:
    """Give this process the variables of a caller, and return whether that changed anything.

    Args:
        variables: Names and values. Variables that were given before and are not among them get
            back the values that they had.
        kept: Names that this process has a value of its own for.
    """
    wanted = {name: value for name, value in variables if name not in kept}
    before = {name: _given.pop(name) for name in list(_given) if name not in wanted}
    changed = False
    for name, value in (before | wanted).items():
        had = os.environ.get(name)
        if name in wanted:
            _given.setdefault(name, had)
        if had == value:
            continue
        changed = True
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return changed
