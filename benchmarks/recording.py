"""A recording of the main example: LangGraph and distgraph side by side on one clock.

    python -m benchmarks.recording docs/images/recording.svg

Runs the agent of ``examples/agent.py`` twice: by LangGraph in this process, and by distgraph on a
Ray that has been started before. The result is an animated SVG of what both streams reported.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

SECONDS = 18.0
"""Length of the animation, without the pause at its end."""

PAUSE = 3.0
WIDTH, PANEL, ROW, TOP = 900, 430, 8, 62
"""Pixels: of the image, of one run, of a row, above the rows."""

COLOURS = {"search": "#f58518", "outline": "#b279a2", "statistics": "#4c78a8", "model": "#54a24b"}


class Call(NamedTuple):
    """One call of a tool or of the model. Times are seconds since the run was requested."""

    label: str
    start: float
    end: float


class Recorded(NamedTuple):
    """One run."""

    title: str
    seconds: float
    calls: tuple[Call, ...]
    tokens: tuple[float, ...]
    """When each token of the report arrived."""


# --- recording ------------------------------------------------------------------------------------


def record_langgraph(agent: Any, asked: dict[str, Any]) -> Recorded:
    """Run the agent by LangGraph in this process."""
    begin = time.perf_counter()
    open_calls: dict[str, tuple[str, float]] = {}
    calls, tokens = [], []
    for mode, chunk in agent.stream(asked, stream_mode=["tasks", "messages"]):
        now = time.perf_counter() - begin
        if mode == "messages":
            tokens += [now] if "Chunk" in type(chunk[0]).__name__ and chunk[0].content else []
        elif "result" in chunk:
            label, start = open_calls.pop(chunk["id"])
            calls.append(Call(label, start, now))
        else:
            open_calls[chunk["id"]] = (_name(chunk), now)
    seconds = time.perf_counter() - begin
    return Recorded("LangGraph: 1 process", seconds, tuple(calls), tuple(tokens))


def _name(task: dict[str, Any]) -> str:
    given = task["input"]
    call = given[0] if isinstance(given, list) else given.get("tool_call", task)
    return str(call["name"])


def record_distgraph(graph: Any, asked: dict[str, Any]) -> Recorded:
    """Run the agent by distgraph."""
    import distgraph

    zero, begin = time.time(), time.perf_counter()
    run = distgraph.progress(graph.stream(asked, stream_mode="messages"), view="none")
    tokens = []
    for message, _ in run:
        if "Chunk" in type(message).__name__ and message.content:
            tokens.append(time.perf_counter() - begin)
    seconds = time.perf_counter() - begin
    calls = tuple(
        Call(a.part or a.path[-1], a.started_at - zero, a.ended_at - zero)
        for a in run.attempts
        if a.counts and a.started_at is not None and a.ended_at is not None
    )
    processes = len(run.snapshot().workers)
    return Recorded(f"distgraph: {processes} worker processes", seconds, calls, tuple(tokens))


def record(files: int) -> tuple[Recorded, Recorded]:
    """Run the agent both ways."""
    # LangGraph's process has this priority too; by default, Ray's workers have a lower one
    os.environ.setdefault("RAY_worker_niceness", "0")
    sys.path.insert(0, str(ROOT / "examples"))
    import agent as example
    import distgraph

    documents = example.read_folder(Path(sysconfig.get_path("stdlib")), files, suffixes={".py"})
    agent, _ = example.build_agent(documents)
    asked = {"messages": [("user", example.question_about(list(documents)))]}
    graph = distgraph.distribute(agent, backend="ray")
    warm_up = " and ".join(list(documents)[:2])  # so that both worker processes have the graph
    graph.invoke({"messages": [("user", f"What do {warm_up} define?")]})
    return record_langgraph(agent, asked), record_distgraph(graph, asked)


# --- drawing --------------------------------------------------------------------------------------


def animation(runs: Sequence[Recorded], seconds: float = SECONDS) -> str:
    """Return an animated SVG of the runs, which repeats itself.

    Args:
        runs: What is shown, from left to right.
        seconds: How long the longest run is shown.
    """
    longest = max(run.seconds for run in runs)
    speed = longest / seconds
    total = seconds + PAUSE
    rows = max(len(run.calls) for run in runs)
    bottom = TOP + rows * (ROW + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 52}" '
        f'width="{WIDTH}" height="{bottom + 52}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{bottom + 52}" fill="#fff"/>',
        *_clock(longest, total, speed),
    ]
    for number, run in enumerate(runs):
        parts += _panel(run, 10 + number * (PANEL + 20), bottom, longest, total, speed)
    for number, (label, colour) in enumerate(COLOURS.items()):
        x = 10 + 110 * number
        parts.append(f'<rect x="{x}" y="{bottom + 34}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="{bottom + 43}" fill="#555">{label}</text>')
    parts.append(
        f'<text x="{WIDTH - 10}" y="{bottom + 43}" fill="#555" text-anchor="end">'
        f"shown at {speed:.1f} times the speed of the runs</text>"
    )
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    run: Recorded, left: float, bottom: float, longest: float, total: float, speed: float
) -> Iterator[str]:
    def x(at: float) -> float:
        return round(left + at / longest * PANEL, 1)

    def key(at: float) -> str:
        return f"{min(1.0, at / speed / total):.4f}"

    yield f'<text x="{left}" y="42" font-size="14" font-weight="bold">{escape(run.title)}</text>'
    yield f'<rect x="{left}" y="{TOP - 6}" width="{PANEL}" height="1" fill="#ccc"/>'
    for number, call in enumerate(sorted(run.calls, key=lambda call: (call.start, call.end))):
        width = max(1.0, round((call.end - call.start) / longest * PANEL, 1))
        yield (
            f'<rect class="call" x="{x(call.start)}" y="{TOP + number * (ROW + 2)}" '
            f'height="{ROW}" width="{width}" fill="{COLOURS.get(call.label, "#888")}">'
            f"<title>{escape(call.label)}: {call.start:.2f} s to {call.end:.2f} s</title>"
            f'<animate attributeName="width" dur="{total:g}s" repeatCount="indefinite" '
            f'values="0;0;{width};{width}" keyTimes="0;{key(call.start)};{key(call.end)};1"/>'
            "</rect>"
        )
    done = f"done in {run.seconds:.1f} s, {len(run.tokens)} tokens"
    yield (
        f'<text class="done" x="{left}" y="{bottom + 20}" font-weight="bold" fill="#1a7f37">{done}'
        f'<animate attributeName="opacity" dur="{total:g}s" repeatCount="indefinite" '
        f'calcMode="discrete" values="0;1" keyTimes="0;{key(run.seconds)}"/></text>'
    )
    yield (
        f'<rect x="{x(run.seconds)}" y="{TOP - 6}" width="1.5" height="{bottom - TOP + 6}" '
        f'fill="#d62728"><animate attributeName="x" dur="{total:g}s" repeatCount="indefinite" '
        f'values="{left};{x(run.seconds)};{x(run.seconds)}" keyTimes="0;{key(run.seconds)};1"/>'
        "</rect>"
    )


def _clock(longest: float, total: float, speed: float) -> Iterator[str]:
    """Yield the clock of both runs: one text for each half second."""
    step = 0.5
    count = int(longest / speed / step) + 1
    for number in range(count):
        start = number * step / total
        end = 1.0 if number == count - 1 else (number + 1) * step / total
        at = longest if number == count - 1 else number * step * speed
        values, keys = "0;1;0", f"0;{start:.4f};{end:.4f}"
        if number == 0:
            values, keys = "1;0", f"0;{end:.4f}"
        hidden = ' opacity="0"' if number < count - 1 else ""
        yield (
            f'<text class="clock" x="{WIDTH / 2:g}" y="22" font-size="18" text-anchor="middle"'
            f'{hidden}>{at:.1f} s<animate attributeName="opacity" dur="{total:g}s" '
            'repeatCount="indefinite" '
            f'calcMode="discrete" values="{values}" keyTimes="{keys}"/></text>'
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Record, or draw again what was recorded."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="the .svg file")
    parser.add_argument("--files", type=int, default=20, help="documents of the agent (20)")
    parser.add_argument("--keep", type=Path, metavar="JSON", help="also write the recorded runs")
    parser.add_argument("--drawn-from", type=Path, metavar="JSON", help="draw these recorded runs")
    args = parser.parse_args(argv)
    if args.drawn_from:
        kept = json.loads(args.drawn_from.read_text(encoding="utf-8"))
        runs = [Recorded(t, s, tuple(Call(*c) for c in calls), tuple(k)) for t, s, calls, k in kept]
    else:
        with contextlib.redirect_stdout(sys.stderr):
            runs = list(record(args.files))
    if args.keep:
        args.keep.write_text(json.dumps(runs) + "\n", encoding="utf-8")
    args.target.write_text(animation(runs), encoding="utf-8")
    for run in runs:
        print(f"{run.title}: {run.seconds:.1f} s, {len(run.calls)} calls, {len(run.tokens)} tokens")


if __name__ == "__main__":
    main()
