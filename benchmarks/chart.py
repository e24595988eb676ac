"""The chart of a report: how many times LangGraph's time each case takes, logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.harness import LANGGRAPH, OURS, CaseResult
from benchmarks.report import number

Results = Mapping[str, Sequence[CaseResult]]

SHOWN = (
    ("cpu", "nodes of", "wall", "8 nodes that compute"),
    ("tools", "that compute", "wall", "8 tool calls that compute"),
    ("fanout", "1,000", "rate", "1,000 trivial tasks in a step"),
    ("stream", "8 tasks, flat out", "throughput", "events of 8 nodes, flat out"),
    ("waiting", "1,000", "wall", "1,000 async nodes that wait"),
    ("runs", "100, async nodes", "wall", "100 runs at once"),
    ("tools", "that wait", "wall", "200 tool calls that wait"),
    ("fanout", "8", "rate", "8 trivial tasks in a step"),
    ("durable", "SQLite", "step", "a saved step, SQLite"),
    ("steps", "1 KB, rewritten", "step", "a step of a trivial node"),
    ("first", "warm", "first event", "first event of a run"),
)
"""Family, end or part of the case's name, metric, and how the bar is called."""

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 230, 70, 18, 8, 46
_FASTER, _SLOWER, _TEXT, _LINE = "#1f9d72", "#5b7db1", "#57606a", "#b0b7bf"


def _found(results: Results, family: str, case: str, metric: str) -> float | None:
    """Return how many times LangGraph's time the case takes; of rates, the inverse."""
    for result in results.get(family, ()):
        if result.case.name == case or (case in result.case.name and not case[0].isdigit()):
            ratio = result.ratio(metric, OURS, LANGGRAPH)
            better = next(m.better for m in result.case.metrics if m.name == metric)
            if ratio:
                return 1 / ratio if better == "more" else ratio
    return None


def bars(results: Results) -> list[tuple[str, float]]:
    """Return the name and the ratio of each bar that was measured, the best first."""
    found = [(title, _found(results, *where)) for *where, title in SHOWN]
    return sorted(((t, r) for t, r in found if r is not None), key=lambda bar: bar[1])


def as_svg(results: Results) -> str:
    """Return the chart."""
    shown = bars(results)
    ratios = [ratio for _, ratio in shown] or [1.0]
    low = min(0.25, 2 ** math.floor(math.log2(min(ratios))))
    high = max(4.0, 2 ** math.ceil(math.log2(max(ratios))))
    room = _WIDTH - _LEFT - _RIGHT
    height = _TOP + len(shown) * (_BAR + _GAP) + 12

    def at(ratio: float) -> float:
        return _LEFT + room * (math.log2(ratio) - math.log2(low)) / math.log2(high / low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" fill="{_TEXT}">',
        f'<text x="{_LEFT}" y="16">time of distgraph on Ray ÷ time of LangGraph in one process'
        "</text>",
    ]
    tick = low
    while tick <= high:
        x, width = at(tick), 2 if tick == 1 else 0.5
        lines += [
            f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 8}" '
            f'stroke="{_LINE}" stroke-width="{width}"/>',
            f'<text x="{x:.1f}" y="{_TOP - 13}" text-anchor="middle" font-size="11">'
            f"{number(tick)}×</text>",
        ]
        tick *= 2
    for position, (title, ratio) in enumerate(shown):
        y = _TOP + position * (_BAR + _GAP)
        left, right = sorted((at(1.0), at(ratio)))
        colour = _FASTER if ratio <= 1 else _SLOWER
        lines += [
            f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(title)}</text>',
            f'<rect x="{left:.1f}" y="{y}" width="{max(1.0, right - left):.1f}" '
            f'height="{_BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{right + 6:.1f}" y="{y + 14}" font-size="12">{number(ratio)}×</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def sentences(results: Results) -> list[str]:
    """Return six lines about what was measured; what was not is left out."""

    def of(family: str, case: str, metric: str, other: str | None = None) -> str | None:
        for result in results.get(family, ()):
            if case in result.case.name:
                if other is None:
                    found = result.summary(OURS, metric)
                    return None if found is None else number(found.median)
                ratio = result.ratio(metric, OURS, other)
                return None if ratio is None else number(ratio)
        return None

    texts = (
        (
            "8 nodes that compute take {}× of LangGraph's time in one process.",
            of("cpu", "nodes of", "wall", LANGGRAPH),
        ),
        (
            "A step of a trivial node takes {} ms.",
            of("steps", "1 KB, rewritten", "step"),
        ),
        ("The first event of a warm run comes after {} ms.", of("first", "warm", "first event")),
        (
            "A token at 50 a second reaches the caller's loop after {} ms (median).",
            of("stream", "1 task, 50/s", "p50"),
        ),
        (
            "One node streams up to {} small events a second.",
            of("stream", "1 task, flat out", "throughput"),
        ),
        (
            "100 runs at once, of async nodes, take {}× of LangGraph's time.",
            of("runs", "100, async", "wall", LANGGRAPH),
        ),
    )
    return [f"- {text.format(value)}" for text, value in texts if value is not None]


def cost_of_a_step(results: Results) -> str:
    """Return how much longer a step of a trivial node takes on Ray; nothing if it was not measured.

    The difference is that of the medians.
    """
    for result in results.get("steps", ()):
        if result.case.name == "1 KB, rewritten":
            ours, theirs = (result.summary(name, "step") for name in (OURS, LANGGRAPH))
            if ours and theirs:
                more = number(ours.median - theirs.median)
                return (
                    f"A superstep of a trivial node takes {more} ms longer on Ray than in process."
                )
    return ""
