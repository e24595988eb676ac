"""A run as HTML, for notebooks: no scripts, no files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from distgraph.views.lines import count, notes, plain, worker_line
from distgraph.views.model import Snapshot

__all__ = ("page",)

COLOURS = {
    "waiting": "#d9a400",
    "running": "#1a7f37",
    "done": "#8fce9c",
    "failed": "#cf222e",
    "interrupted": "#8250df",
    "cancelled": "#6e7781",
}


def page(title: str, ranks: Sequence[Sequence[str]], now: Snapshot, *, text: bool = False) -> str:
    """Return the picture of one moment."""
    head = [f"{now.elapsed:.1f} s", now.status]
    if now.workers:
        where = f"{count(len(now.workers), 'process', 'processes')} on "
        head.append(where + count(now.machines, "machine"))
    if now.tokens:
        head.append(count(now.tokens, "token"))
    if now.retries:
        head.append(count(now.retries, "retry", "retries"))
    parts = [
        '<div class="distgraph-progress" style="font:13px sans-serif">',
        f"<div><b>{escape(plain(title))}</b> {escape(' · '.join(head))}</div>",
    ]
    if ranks:
        parts.append(f'<div style="margin:4px 0">{_graph(ranks, now)}</div>')
    if now.nodes:
        parts.append(_bars(now))
    parts += [f'<div style="color:#9a6700">{escape(plain(wait))}</div>' for wait in now.waits]
    lines = "<br>".join(escape(worker_line(worker)) for worker in now.workers)
    if lines:
        parts.append(f'<div style="color:#57606a">{lines}</div>')
    if text and now.text:
        parts.append(f'<pre style="white-space:pre-wrap">{escape(now.text)}</pre>')
    return "".join([*parts, "</div>"])


def _graph(ranks: Sequence[Sequence[str]], now: Snapshot) -> str:
    states = now.states()

    def chip(name: str) -> str:
        state = states.get(name, "")
        colour = COLOURS.get(state, "#d0d7de")
        weight = "bold" if state == "running" else "normal"
        return (
            f'<span class="{state or "idle"}" style="border:2px solid {colour};border-radius:6px;'
            f'padding:0 6px;font-weight:{weight}">{escape(plain(name))}</span>'
        )

    return " → ".join(" ".join(chip(name) for name in rank) for rank in ranks)


def _bars(now: Snapshot) -> str:
    rows = []
    for row in now.nodes:
        parts = [f"{row.done}/{row.total}", *notes(row)]
        share = 100 * (row.done + row.failed) / max(row.total, 1)
        bar = (
            '<div style="width:160px;height:8px;background:#d0d7de">'
            f'<div style="width:{share:.0f}%;height:8px;background:{COLOURS[row.state]}">'
            "</div></div>"
        )
        rows.append(
            f"<tr><td>{escape(plain(row.label))}</td><td>{bar}</td>"
            f"<td>{escape(', '.join(parts))}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"
