"""The timeline of a run: one row for each process, one bar for each attempt; pure.

``Timeline.of`` lays out recorded attempts. The result draws itself as SVG or HTML, and as the JSON
that Chrome (``chrome://tracing``) and Perfetto open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from distgraph.views.model import Attempt

__all__ = ("Bar", "Row", "Step", "Timeline")

WIDTH, LEFT, BAR, GAP, TOP, CHART = 960, 190, 16, 4, 44, 28
"""Pixels: of the drawing, of the labels, of a bar, between bars, above the rows, of the waits."""

PALETTE = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#9d755d", "#79706e")
FAILED = "#d62728"

MOST = 1200
"""Pixels that the rows take at most, down to one pixel for each row."""

TICKS = (1, 2, 5)

NAME = 12
"""Pixels between the names of two processes, at least."""

LABEL = 44
"""Pixels between the labels of two supersteps, at least."""


class Bar(NamedTuple):
    """One attempt. Times are seconds since the beginning of the run."""

    label: str
    start: float
    end: float
    queued: float
    status: str
    attempt: int
    task_id: str
    error: str = ""


class Row(NamedTuple):
    """One process, or one of several attempts that it runs at a time."""

    host: str
    pid: int
    lane: int
    """From 0: further lanes hold attempts that ran at the same time in the same process."""
    bars: tuple[Bar, ...]


class Step(NamedTuple):
    """A superstep of the root graph. Times are seconds since the beginning of the run."""

    number: int
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """What ran where, and when."""

    title: str
    begin: float
    """The beginning of the run, in seconds since the epoch."""
    length: float
    """Seconds that the timeline spans."""
    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    waiting: tuple[tuple[float, int], ...]
    """The number of attempts that wait for a worker, from each of these seconds on."""

    @classmethod
    def of(
        cls,
        attempts: Iterable[Attempt],
        *,
        title: str = "run",
        begin: float | None = None,
        now: float | None = None,
    ) -> Timeline:
        """Lay out attempts.

        Args:
            attempts: In any order.
            title: Shown above the drawing.
            begin: Start of the time axis, in seconds since the epoch. Default: the first attempt.
            now: End of what still runs or waits. Default: the last time that is known.
        """
        known = list(attempts)
        times = [t for a in known for t in (a.queued_at, a.started_at, a.ended_at) if t is not None]
        zero = min(times, default=0.0) if begin is None else begin
        end = max([*times, zero]) if now is None else now
        return cls(
            title=title,
            begin=zero,
            length=max(0.0, end - zero),
            rows=tuple(_rows(known, zero, end)),
            steps=tuple(_steps(known, zero, end)),
            waiting=tuple(_waiting(known, zero)),
        )

    # --- formats ----------------------------------------------------------------------------------

    def svg(self) -> str:
        """Return an SVG image: nothing outside of it is needed."""
        return _Drawing(self).svg()

    def html(self) -> str:
        """Return an HTML page with the image: nothing outside of it is needed."""
        title = _text(self.title)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'</head>\n<body style="font-family:sans-serif">\n{self.svg()}\n</body></html>\n'
        )

    def _repr_html_(self) -> str:
        return self.svg()

    def chrome_trace(self) -> dict[str, Any]:
        """Return the run in Chrome's trace format: times in microseconds."""
        processes = {(row.host, row.pid): 0 for row in self.rows}
        processes = {key: number for number, key in enumerate(processes, 1)}
        events: list[dict[str, Any]] = [_meta("process_name", 0, 0, f"run {self.title}")]
        events += [_meta("thread_name", 0, 0, "supersteps")]
        for (host, pid), number in processes.items():
            events.append(_meta("process_name", number, 0, f"{host}/{pid}"))
        for step in self.steps:
            events.append(_complete(f"step {step.number}", 0, 0, step.start, step.end))
        for seconds, number in self.waiting:
            counter = {"name": "waiting", "ph": "C", "pid": 0, "ts": _us(seconds)}
            events.append({**counter, "args": {"attempts": number}})
        for row in self.rows:
            for bar in row.bars:
                event = _complete(
                    bar.label, processes[row.host, row.pid], row.lane, bar.start, bar.end
                )
                event["args"] = {
                    "status": bar.status,
                    "attempt": bar.attempt,
                    "task_id": bar.task_id,
                    "waited_s": round(bar.start - bar.queued, 6),
                    **({"error": bar.error} if bar.error else {}),
                }
                events.append(event)
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file: ``.svg``, ``.html``, or ``.json`` for Chrome's trace format.

        Raises:
            ValueError: Another suffix.
        """
        target = Path(path)
        if target.suffix == ".svg":
            target.write_text(self.svg() + "\n", encoding="utf-8")
        elif target.suffix == ".html":
            target.write_text(self.html(), encoding="utf-8")
        elif target.suffix == ".json":
            target.write_text(json.dumps(self.chrome_trace()) + "\n", encoding="utf-8")
        else:
            raise ValueError(
                f"{target.name!r}: a timeline is saved as .svg, .html or .json (Chrome trace)"
            )


# --- layout ---------------------------------------------------------------------------------------


def _rows(attempts: Sequence[Attempt], zero: float, end: float) -> Iterator[Row]:
    """Yield a row for each process in the order of their first starts, and its further lanes."""
    by_process: dict[tuple[str, int], list[tuple[float, Attempt]]] = {}
    started = [(a.started_at, a) for a in attempts if a.started_at is not None]
    for at, attempt in sorted(started, key=lambda pair: pair[0]):
        by_process.setdefault((attempt.host, attempt.pid), []).append((at, attempt))
    for (host, pid), own in by_process.items():
        lanes: list[list[Bar]] = []
        for at, attempt in own:
            stop = end if attempt.ended_at is None else attempt.ended_at
            bar = Bar(
                label=attempt.label + (" (edges)" if attempt.kind == "writers" else ""),
                start=at - zero,
                end=max(stop, at) - zero,
                queued=attempt.queued_at - zero,
                status=attempt.status,
                attempt=attempt.number,
                task_id=attempt.task_id,
                error=attempt.error,
            )
            lane = next((lane for lane in lanes if lane[-1].end <= bar.start), None)
            if lane is None:
                lanes.append(lane := [])
            lane.append(bar)
        yield from (Row(host, pid, number, tuple(lane)) for number, lane in enumerate(lanes))


def _steps(attempts: Sequence[Attempt], zero: float, end: float) -> Iterator[Step]:
    found: dict[int, tuple[float, float]] = {}
    for attempt in attempts:
        if len(attempt.path) == 1:
            stop = end if attempt.ended_at is None else attempt.ended_at
            first, last = found.get(attempt.step, (attempt.queued_at, stop))
            found[attempt.step] = min(first, attempt.queued_at), max(last, stop)
    for number, (first, last) in sorted(found.items()):
        yield Step(number, first - zero, last - zero)


def _waiting(attempts: Sequence[Attempt], zero: float) -> Iterator[tuple[float, int]]:
    changes: dict[float, int] = {}
    for attempt in attempts:
        stop = attempt.started_at if attempt.started_at is not None else attempt.ended_at
        changes[attempt.queued_at] = changes.get(attempt.queued_at, 0) + 1
        if stop is not None:
            changes[stop] = changes.get(stop, 0) - 1
    number = 0
    for at in sorted(changes):
        if changes[at]:
            number += changes[at]
            yield at - zero, number


# --- SVG ------------------------------------------------------------------------------------------


class _Drawing:
    def __init__(self, timeline: Timeline) -> None:
        self._of = timeline
        self._scale = (WIDTH - LEFT - 10) / (timeline.length or 1.0)
        self._pitch = max(1.0, min(BAR + GAP, MOST / max(len(timeline.rows), 1)))
        labels = dict.fromkeys(bar.label for row in timeline.rows for bar in row.bars)
        self._colours = {
            label: PALETTE[number % len(PALETTE)] for number, label in enumerate(sorted(labels))
        }

    def svg(self) -> str:
        of = self._of
        bottom = round(TOP + CHART + len(of.rows) * self._pitch)
        height = bottom + 24 + 18 * ((len(self._colours) + 4) // 5)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="8" y="16" font-size="13" font-weight="bold">{_text(of.title)}</text>',
            *self._axis(bottom),
            *self._supersteps(bottom),
            *self._waits(),
        ]
        free = 0.0
        for number, row in enumerate(of.rows):
            y = round(TOP + CHART + number * self._pitch, 2)
            named = row.lane == 0 and y >= free
            free = y + NAME if named else free
            parts += self._row(row, y, named)
        parts += self._legend(bottom + 20)
        return "\n".join([*parts, "</svg>"])

    def _x(self, seconds: float) -> float:
        return round(LEFT + seconds * self._scale, 2)

    def _axis(self, bottom: float) -> Iterator[str]:
        tick = _tick(self._of.length)
        number = 0
        while number * tick <= self._of.length:
            x = self._x(number * tick)
            yield f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="#eee"/>'
            yield f'<text x="{x}" y="{bottom + 10}" fill="#777">{number * tick:g} s</text>'
            number += 1

    def _supersteps(self, bottom: float) -> Iterator[str]:
        free = 0.0
        for step in self._of.steps:
            x = self._x(step.start)
            yield '<g class="step">'
            yield f"<title>step {step.number}: {step.start:.3f} s to {step.end:.3f} s</title>"
            yield (
                f'<line x1="{x}" y1="{TOP - 18}" x2="{x}" y2="{bottom}" stroke="#999" '
                'stroke-dasharray="3 3"/>'
            )
            if x >= free:  # labels do not cover each other
                yield f'<text x="{x + 2}" y="{TOP - 10}" fill="#555">step {step.number}</text>'
                free = x + LABEL
            yield "</g>"

    def _waits(self) -> Iterator[str]:
        of = self._of
        yield f'<text x="8" y="{TOP + BAR}" fill="#777">waiting</text>'
        most = max((number for _, number in of.waiting), default=0)
        ends = [at for at, _ in of.waiting[1:]] + [of.length]
        for (at, number), until in zip(of.waiting, ends, strict=False):
            if number and until > at:
                high = round((CHART - 6) * number / most, 2)
                yield (
                    f'<rect class="waiting" x="{self._x(at)}" y="{TOP + CHART - 4 - high}" '
                    f'width="{round((until - at) * self._scale, 2)}" height="{high}" '
                    f'fill="#f2cc60"><title>{number} waiting</title></rect>'
                )

    def _row(self, row: Row, y: float, named: bool) -> Iterator[str]:
        high = round(self._pitch * BAR / (BAR + GAP), 2)
        if named:
            name = _text(f"{row.host[-18:]}/{row.pid}")
            yield f'<text class="process" x="8" y="{y + BAR - 4}">{name}</text>'
        for bar in row.bars:
            failed = bar.status in ("error", "lost", "timeout")
            colour = FAILED if failed else self._colours[bar.label]
            faded = ' fill-opacity="0.45"' if bar.status in ("running", "cancelled") else ""
            waited = bar.start - bar.queued
            title = f"{bar.label}, attempt {bar.attempt}: {bar.status}, {bar.end - bar.start:.3f} s"
            title += f", waited {waited:.3f} s" + (f"\n{bar.error}" if bar.error else "")
            width = max(1.0, round((bar.end - bar.start) * self._scale, 2))
            yield (
                f'<rect class="attempt" x="{self._x(bar.start)}" y="{y}" width="{width}" '
                f'height="{high:g}" rx="{min(2.0, high / 4):g}" fill="{colour}"{faded} '
                f'stroke="#fff" stroke-width="{min(0.5, high / 8):g}">'
                f"<title>{_text(title)}</title></rect>"
            )

    def _legend(self, y: float) -> Iterator[str]:
        for number, (label, colour) in enumerate(self._colours.items()):
            x, line = 8 + 190 * (number % 5), y + 18 * (number // 5)
            yield f'<rect x="{x}" y="{line}" width="10" height="10" fill="{colour}"/>'
            yield f'<text x="{x + 14}" y="{line + 9}">{_text(label[:28])}</text>'


def _text(text: str) -> str:
    """Return text for XML, which has no place for most control characters."""
    return escape("".join(c if c.isprintable() or c == "\n" else " " for c in text))


def _tick(length: float) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, at most 12 of them."""
    power = 0.001
    while True:
        for factor in TICKS:
            if length / (factor * power) <= 12:
                return factor * power
        power *= 10


# --- Chrome's trace format ------------------------------------------------------------------------


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _meta(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _complete(name: str, pid: int, tid: int, start: float, end: float) -> dict[str, Any]:
    times = {"ts": _us(start), "dur": _us(end) - _us(start)}
    return {"name": name, "ph": "X", "pid": pid, "tid": tid, **times}
