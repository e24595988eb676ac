"""A run as a picture in a terminal, drawn by ``rich``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distgraph.concurrency.forking import free_in_forks
from distgraph.views.lines import LineView, count, notes, plain, running
from distgraph.views.model import NodeRow, Snapshot, WorkerRow

__all__ = ("TerminalView", "picture")

MOST_WORKERS = 12
"""Rows of processes; the others are counted."""

MOST_RAN = 8
"""Nodes named in the row of a process: those that took the most time."""

TEXT_LINES = 12

_RANK = {"running": 0, "failed": 1, "waiting": 2, "interrupted": 3, "cancelled": 4, "done": 5}
"""Which nodes are shown where a terminal has too few lines for all."""
STYLES = {
    "waiting": "yellow",
    "running": "bold black on green",
    "done": "green",
    "failed": "red",
    "interrupted": "magenta",
    "cancelled": "dim",
}


def graph_line(ranks: Sequence[Sequence[str]], now: Snapshot) -> Text:
    """Return the nodes in their order, those that run highlighted."""
    states = now.states()
    line = Text(overflow="fold")
    for position, rank in enumerate(ranks):
        line.append(" → " if position else "", style="dim")
        for index, name in enumerate(rank):
            line.append(" | " if index else "", style="dim")
            style = STYLES.get(states.get(name, ""), "dim")
            shown = plain(name)
            line.append(f" {shown} " if states.get(name) == "running" else shown, style=style)
    return line


def bars(rows: Sequence[NodeRow], most: int | None = None) -> Table:
    """Return a bar for each node; with ``most``, of so many nodes, those first that go on."""
    table = Table.grid(padding=(0, 1))
    shown = rows
    if most is not None and len(rows) > most:
        first = sorted(range(len(rows)), key=lambda at: (_RANK[rows[at].state], -at))[: most - 1]
        shown = [rows[at] for at in sorted(first)]
    for row in shown:
        table.add_row(
            Text(plain(row.label), style=STYLES["failed"] if row.failed else ""),
            ProgressBar(total=max(row.total, 1), completed=row.done + row.failed, width=24),
            Text(f"{row.done}/{row.total}", justify="right"),
            Text(", ".join(notes(row)), style="dim"),
        )
    if len(shown) < len(rows):
        table.add_row(Text(f"and {len(rows) - len(shown)} more nodes", style="dim"))
    return table


def processes(workers: Sequence[WorkerRow]) -> Table:
    """Return a row for each process."""
    table = Table.grid(padding=(0, 1))
    for worker in workers[:MOST_WORKERS]:
        longest = sorted(worker.ran, key=lambda ran: -ran.seconds)[:MOST_RAN]
        names = [f"{plain(one.label)} ×{one.number}" for one in worker.ran if one in longest]
        names += [f"{more} more nodes"] if (more := len(worker.ran) - len(longest)) else []
        ran = ", ".join(names)
        now = running(worker)
        table.add_row(
            Text(f"{worker.host}/{worker.pid}", style="cyan"),
            Text(f"{worker.busy:.1f} s", justify="right"),
            Text.assemble((now, "bold green"), "  " if now and ran else "", ran),
        )
    if len(workers) > MOST_WORKERS:
        table.add_row(Text(f"and {len(workers) - MOST_WORKERS} more", style="dim"))
    return table


def picture(
    title: str,
    ranks: Sequence[Sequence[str]],
    now: Snapshot,
    text: bool = False,
    lines: int | None = None,
) -> RenderableType:
    """Return everything that the view shows at one moment.

    ``lines``: height of the terminal; None to show all nodes, however many they are.
    """
    head = [f"{now.elapsed:.1f} s", now.status]
    if now.workers:
        where = f"{count(len(now.workers), 'process', 'processes')} on "
        head.append(where + count(now.machines, "machine"))
    if now.tokens:
        rate = "" if now.token_rate is None else f" ({now.token_rate:.0f}/s)"
        head.append(count(now.tokens, "token") + rate)
    if now.retries:
        head.append(count(now.retries, "retry", "retries"))
    parts: list[RenderableType] = [Text(f"{plain(title)}  {' · '.join(head)}", style="bold")]
    if ranks:
        parts.append(graph_line(ranks, now))
    if now.nodes:
        room = None if lines is None else max(4, lines - 6 - min(len(now.workers), MOST_WORKERS))
        parts.append(bars(now.nodes, room))
    parts += [Text(f"! {plain(wait)}", style="yellow") for wait in now.waits]
    if now.workers:
        parts.append(processes(now.workers))
    if text and now.text and not now.ended:
        last = now.text.splitlines()[-TEXT_LINES:]
        parts.append(Panel(Text("\n".join(last)), border_style="dim"))
    return Group(*parts)


class _Standard:
    """The stdout or stderr of the moment: while a picture is drawn, what appears above it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> None:
        getattr(sys, self._name).write(text)

    def flush(self) -> None:
        getattr(sys, self._name).flush()


_drawn = free_in_forks(threading.Lock())
"""Held by the view that draws: a terminal has one picture at a time."""


class TerminalView:
    """Redraws one picture. What the program prints meanwhile appears above it.

    While another view of this process draws, a view prints lines above that picture.

    Args:
        out: The terminal.
        text_out: Where the whole text of models goes at the end, None to show no text.
    """

    interval = 0.1

    def __init__(self, out: TextIO, text_out: TextIO | None = None) -> None:
        self._console = Console(file=out, force_terminal=True)
        self._text_out = text_out
        self._title = ""
        self._ranks: Sequence[Sequence[str]] = ()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._out = out
        self._lines: LineView | None = None

    def begin(self, title: str, ranks: Sequence[Sequence[str]]) -> None:
        """Start to draw."""
        if not _drawn.acquire(blocking=False):
            name = "stdout" if self._out is sys.__stdout__ else "stderr"
            self._lines = LineView(_Standard(name), self._text_out)
            self.interval = self._lines.interval
            self._lines.begin(title, ranks)
            return
        self._title, self._ranks = title, ranks
        try:
            self._live.start()
        except BaseException:
            _drawn.release()
            raise

    def token(self, text: str) -> None:
        """The picture shows the text."""
        if self._lines is not None:
            self._lines.token(text)

    def draw(self, now: Snapshot) -> None:
        """Draw the picture again."""
        if self._lines is not None:
            self._lines.draw(now)
        else:
            self._update(now, self._console.height)

    def _update(self, now: Snapshot, lines: int | None) -> None:
        shown = picture(self._title, self._ranks, now, self._text_out is not None, lines)
        self._live.update(shown, refresh=True)

    def end(self, now: Snapshot) -> None:
        """Leave the last picture behind, and the text below it."""
        if self._lines is not None:
            self._lines.end(now)
            return
        try:
            self._live.vertical_overflow = "visible"
            self._update(now, None)
            self._live.stop()
        finally:
            _drawn.release()
        if self._text_out is not None and now.text:
            self._text_out.write(f"\n{now.text.rstrip()}\n")
            self._text_out.flush()
