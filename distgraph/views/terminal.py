"""A run as a picture in a terminal, drawn by ``rich``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distgraph.views.lines import count, notes
from distgraph.views.model import NodeRow, Snapshot, WorkerRow

__all__ = ("TerminalView", "picture")

MOST_WORKERS = 12
"""Rows of processes; the others are counted."""

TEXT_LINES = 12
STYLES = {"waiting": "yellow", "running": "bold black on green", "done": "green", "failed": "red"}


def graph_line(ranks: Sequence[Sequence[str]], now: Snapshot) -> Text:
    """Return the nodes in their order, those that run highlighted."""
    states = now.states()
    line = Text(overflow="fold")
    for position, rank in enumerate(ranks):
        line.append(" → " if position else "", style="dim")
        for index, name in enumerate(rank):
            line.append(" | " if index else "", style="dim")
            style = STYLES.get(states.get(name, ""), "dim")
            line.append(f" {name} " if states.get(name) == "running" else name, style=style)
    return line


def bars(rows: Sequence[NodeRow]) -> Table:
    """Return a bar for each node."""
    table = Table.grid(padding=(0, 1))
    for row in rows:
        table.add_row(
            Text(row.label, style=STYLES["failed"] if row.failed else ""),
            ProgressBar(total=max(row.total, 1), completed=row.done + row.failed, width=24),
            Text(f"{row.done}/{row.total}", justify="right"),
            Text(", ".join(notes(row)), style="dim"),
        )
    return table


def processes(workers: Sequence[WorkerRow]) -> Table:
    """Return a row for each process."""
    table = Table.grid(padding=(0, 1))
    for worker in workers[:MOST_WORKERS]:
        ran = ", ".join(f"{label} ×{number}" for label, number, _ in worker.ran)
        running = ", ".join(worker.running)
        table.add_row(
            Text(f"{worker.host}/{worker.pid}", style="cyan"),
            Text(f"{worker.busy:.1f} s", justify="right"),
            Text.assemble((running, "bold green"), "  " if running and ran else "", ran),
        )
    if len(workers) > MOST_WORKERS:
        table.add_row(Text(f"and {len(workers) - MOST_WORKERS} more", style="dim"))
    return table


def picture(
    title: str, ranks: Sequence[Sequence[str]], now: Snapshot, text: bool = False
) -> RenderableType:
    """Return everything that the view shows at one moment."""
    head = [f"{now.elapsed:.1f} s", now.status]
    if now.workers:
        where = f"{count(len(now.workers), 'process', 'processes')} on "
        head.append(where + count(now.machines, "machine"))
    if now.tokens:
        rate = "" if now.token_rate is None else f" ({now.token_rate:.0f}/s)"
        head.append(count(now.tokens, "token") + rate)
    if now.retries:
        head.append(count(now.retries, "retry", "retries"))
    parts: list[RenderableType] = [Text(f"{title}  {' · '.join(head)}", style="bold")]
    if ranks:
        parts.append(graph_line(ranks, now))
    if now.nodes:
        parts.append(bars(now.nodes))
    parts += [Text(f"! {wait}", style="yellow") for wait in now.waits]
    if now.workers:
        parts.append(processes(now.workers))
    if text and now.text and not now.ended:
        last = now.text.splitlines()[-TEXT_LINES:]
        parts.append(Panel(Text("\n".join(last)), border_style="dim"))
    return Group(*parts)


class TerminalView:
    """Redraws one picture. What the program prints meanwhile appears above it.

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

    def begin(self, title: str, ranks: Sequence[Sequence[str]]) -> None:
        """Start to draw."""
        self._title, self._ranks = title, ranks
        self._live.start()

    def token(self, text: str) -> None:
        """The picture shows the text."""

    def draw(self, now: Snapshot) -> None:
        """Draw the picture again."""
        shown = picture(self._title, self._ranks, now, self._text_out is not None)
        self._live.update(shown, refresh=True)

    def end(self, now: Snapshot) -> None:
        """Leave the last picture behind, and the text below it."""
        self._live.vertical_overflow = "visible"
        self.draw(now)
        self._live.stop()
        if self._text_out is not None and now.text:
            self._text_out.write(f"\n{now.text.rstrip()}\n")
            self._text_out.flush()
