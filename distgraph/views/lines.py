"""A run as plain lines, for logs and pipes: one line for each change, at most one view a second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol, TextIO

from distgraph.views.model import NodeRow, Snapshot, WorkerRow

__all__ = ("LineView", "changes", "count", "notes", "plain", "running", "summary")

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)")
"""Sequences that colour a terminal."""

INTERVAL = 1.0
"""Seconds between two looks at the run."""

REPEAT = 10.0
"""Seconds after which what has not changed is printed again, so that no wait is silent."""


def count(number: int, one: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 task``, ``2 tasks``."""
    return f"{number:,} {one if number == 1 else plural or f'{one}s'}"


def plain(text: str) -> str:
    """Return text as one line without control characters: names and errors may have any."""
    return " ".join("".join(c if c.isprintable() else " " for c in _ESCAPES.sub("", text)).split())


def running(worker: WorkerRow) -> str:
    """Return what a process runs now, with the number of tasks of each node."""
    numbers = Counter(worker.running)
    return ", ".join(plain(n) + (f" ×{of}" if of > 1 else "") for n, of in numbers.items())


def notes(row: NodeRow) -> list[str]:
    """Return what a bar of a node says beside its share, as parts of a line."""
    parts = [f"{row.seconds:.1f} s"]
    if row.rate is not None and row.total > 1:
        parts.append(f"{row.rate:.1f}/s")
    if row.eta is not None:
        parts.append(f"{row.eta:.0f} s left")
    parts += [f"{row.running} running"] if row.running else []
    parts += [f"{row.waiting} waiting"] if row.waiting else []
    parts += _ends(row)
    parts += [count(row.retries, "retry", "retries")] if row.retries else []
    return parts


def changes(before: Snapshot | None, now: Snapshot) -> Iterator[str]:
    """Yield a line for each node whose tasks, and each wait whose reason, is new."""
    known = {} if before is None else {row.label: row for row in before.nodes}
    for row in now.nodes:
        old = known.get(row.label)
        if old is None or _counts(old) != _counts(row):
            yield _line(row)
    old_waits = () if before is None else before.waits
    seen = {wait.split(" in ")[0] for wait in old_waits}
    for wait in now.waits:
        if wait.split(" in ")[0] not in seen and ": retries in " in wait:
            yield plain(wait)


def summary(end: Snapshot) -> Iterator[str]:
    """Yield the lines at the end of a run: what each process ran, and the sum."""
    for worker in end.workers:
        yield worker_line(worker)
    parts = [
        f"{end.status} in {end.elapsed:.1f} s",
        count(sum(row.total for row in end.nodes), "task"),
        f"{count(len(end.workers), 'process', 'processes')} on {count(end.machines, 'machine')}",
    ]
    if end.retries:
        parts.append(count(end.retries, "retry", "retries"))
    if end.tokens:
        parts.append(count(end.tokens, "token"))
    parts.append(f"{end.work:.1f} s of work")
    yield ", ".join(parts)


def worker_line(worker: WorkerRow) -> str:
    """Return what a process ran, as text."""
    ran = [f"{plain(label)} ×{number} in {seconds:.1f} s" for label, number, seconds in worker.ran]
    return f"process {worker.pid} on {worker.host}: {', '.join(ran) or 'nothing to its end'}"


def _ends(row: NodeRow) -> list[str]:
    """Return how many tasks ended in another way than done."""
    ends = {"failed": row.failed, "interrupted": row.interrupted, "cancelled": row.cancelled}
    return [f"{number} {how}" for how, number in ends.items() if number]


def _counts(row: NodeRow) -> tuple[int, ...]:
    return row.total, row.done, row.running, row.failed, row.interrupted, row.cancelled


def _line(row: NodeRow) -> str:
    goes_on = row.state in ("running", "waiting")
    if goes_on:
        parts = [f"{row.done} of {row.total} done", f"{row.running} running"]
    else:
        parts = [f"{row.done} of {row.total} done in {row.seconds:.1f} s"]
    parts += _ends(row)
    if row.waiting:
        parts.append(f"{row.waiting} waiting" + (f" for {row.reason}" if row.reason else ""))
    if row.retries:
        parts.append(count(row.retries, "retry", "retries"))
    if goes_on and row.rate is not None and row.eta is not None:
        parts.append(f"{row.rate:.1f}/s, {row.eta:.0f} s left")
    return f"{plain(row.label)}: {', '.join(parts)}"


class Output(Protocol):
    """What lines are written to, such as a file."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Write what is held back."""


class LineView:
    """Prints lines.

    Args:
        out: Where the lines go.
        text_out: Where the text that models stream goes, None to print none.
    """

    interval = INTERVAL

    def __init__(self, out: Output, text_out: TextIO | None = None) -> None:
        self._out = out
        self._text_out = text_out
        self._last: Snapshot | None = None
        self._printed = 0.0
        self._text_open = False

    def begin(self, title: str, ranks: Sequence[Sequence[str]]) -> None:
        """Print what runs."""
        nodes = " → ".join(" | ".join(map(plain, rank)) for rank in ranks)
        self._print(0.0, f"{plain(title)}: {nodes}" if nodes else plain(title))

    def token(self, text: str) -> None:
        """Print a piece of a model's text."""
        if self._text_out is not None and text:
            self._text_open = not text.endswith("\n")
            self._text_out.write(text)
            self._text_out.flush()

    def draw(self, now: Snapshot) -> None:
        """Print what has changed since the last call."""
        if self._text_open:
            return  # the middle of a line of text
        lines = list(changes(self._last, now))
        if not lines and now.elapsed - self._printed >= REPEAT:
            lines = [_line(row) for row in now.nodes if row.state in ("running", "waiting")]
        for line in lines:
            self._print(now.elapsed, line)
        self._last = now

    def end(self, now: Snapshot) -> None:
        """Print the last changes and the summary."""
        if self._text_open and self._text_out is not None:
            self._text_out.write("\n")
            self._text_out.flush()
            self._text_open = False
        self.draw(now)
        for line in summary(now):
            self._print(now.elapsed, line)

    def _print(self, at: float, line: str) -> None:
        self._printed = at
        self._out.write(f"[{at:6.1f} s] {line}\n")
        self._out.flush()
