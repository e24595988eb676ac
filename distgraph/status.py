"""Status lines: one short line on the terminal or in the notebook where a program waits.

They appear where standard error is a terminal, or in a notebook. ``show_status(False)`` or
``DISTGRAPH_STATUS=off`` silences them; ``show_status(True)`` or ``on`` shows them elsewhere too.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from distgraph._internal.settings import setting
from distgraph.concurrency.forking import free_in_forks

__all__ = ("Step", "ended", "note", "show_status", "started")

ENV = "DISTGRAPH_STATUS"

_lock = free_in_forks(threading.Lock())
_wanted: bool | None = None
_steps: dict[str, Step] = {}
_noted: set[str] = set()


def show_status(on: bool | None) -> None:
    """Show status lines always (True), never (False), or on terminals and in notebooks (None)."""
    global _wanted
    _wanted = on


def _is_shown() -> bool:
    if _wanted is not None:
        return _wanted
    said: bool | None = None
    with suppress(ValueError):  # the run that comes refuses the setting
        said = setting(ENV, said)
    return _is_terminal() or _is_notebook() if said is None else said


def _is_terminal() -> bool:
    return bool(sys.stderr is not None and sys.stderr.isatty())


def _is_notebook() -> bool:
    console = sys.modules.get("IPython")
    shell = console.get_ipython() if console is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class Step:
    """Something that takes a while: a line when it starts, and one when it ends.

    Both are whole lines, also on a terminal: the program may print in between.
    """

    def __init__(self, text: str) -> None:
        self._started = time.monotonic()
        _write(f"{text} …")

    def end(self, text: str | None) -> None:
        """Show the result, with the seconds it took; without a text, nothing."""
        if text is not None:
            _write(f"{text} … {time.monotonic() - self._started:.1f} s")


def started(name: str, text: str) -> Step:
    """Return the step of that name; show its line unless it has started already."""
    with _lock:
        step = _steps.get(name)
        if step is None:
            step = _steps[name] = Step(text)
        return step


def ended(name: str, text: str | None) -> None:
    """End the step of that name, if it has started."""
    with _lock:
        step = _steps.pop(name, None)
    if step is not None:
        step.end(text)


def note(text: str) -> bool:
    """Show a line, once in a process. Returns whether status lines are shown."""
    if not _is_shown():
        return False
    with _lock:
        if text in _noted:
            return True
        _noted.add(text)
    _write(text)
    return True


def _write(text: str) -> None:
    if not _is_shown() or sys.stderr is None:
        return
    try:
        sys.stderr.write(f"distgraph: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody is there any more
        pass


# --- what the lines say -------------------------------------------------------------------------


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: ``2 CPUs``, ``1 machine``."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def cluster_size(machines: int, cpus: float, gpus: float) -> str:
    """Return the size of a cluster in words."""
    parts = [counted(machines, "machine"), counted(cpus, "CPU")]
    return ", ".join([*parts, counted(gpus, "GPU")] if gpus else parts)


def lacking(demand: dict[str, float], machines: Sequence[dict[str, float]]) -> str | None:
    """Return what of a demand no machine has in words, None if one has all of it.

    Args:
        demand: Amounts by resource, as Ray names them.
        machines: The total amounts of each machine.
    """
    asked = {name: amount for name, amount in demand.items() if amount > 0}
    if any(all(m.get(name, 0) >= amount for name, amount in asked.items()) for m in machines):
        return None
    for name, amount in asked.items():
        most = max((machine.get(name, 0) for machine in machines), default=0)
        if most < amount:
            has = f"no machine has more than {most:g}" if most else "no machine has one"
            return f"{name} {amount:g}: {has}"
    together = ", ".join(f"{name} {amount:g}" for name, amount in asked.items())
    return f"{together}: no machine has all of it"
