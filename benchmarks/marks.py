"""What the figures should reach: told in the report, and never a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.harness import ASYNCIO, LANGGRAPH, OURS, RAY, CaseResult, median_ratio

Verdict = Literal["reached", "missed", "not measured"]

WHY = {
    "steps": "a-step",
    "first": "a-run",
    "stream": "events",
    "fanout": "fan-outs",
    "tools": "fan-outs",
    "large": "state-of-megabytes",
    "durable": "saved-steps",
    "runs": "many-runs",
}
"""Headings of the page that say why figures of a family are what they are."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound for the median of one cell, or for its ratio to another contender."""

    title: str
    family: str
    case: str
    metric: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    against: str | None = None
    """The contender to whose value the ratio is taken."""
    base: tuple[str, str] | None = None
    """Case and metric of distgraph's to which the ratio is taken."""

    def value(self, results: Mapping[str, Sequence[CaseResult]]) -> float | None:
        """Return what was measured, None where it was not."""
        cases = {result.case.name: result for result in results.get(self.family, ())}
        result = cases.get(self.case)
        if result is None:
            return None
        if self.against is not None:
            return result.ratio(self.metric, OURS, self.against)
        if self.base is not None:
            other, metric = self.base
            samples = cases[other].samples if other in cases else {}
            return median_ratio(
                result.samples.get((OURS, self.metric)), samples.get((OURS, metric))
            )
        found = result.summary(OURS, self.metric)
        return found.median if found else None

    def verdict(self, value: float | None) -> Verdict:
        """Compare a value with the bound."""
        if value is None:
            return "not measured"
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return "reached" if low <= value <= high else "missed"


def _marks() -> tuple[Mark, ...]:
    lg, ray = LANGGRAPH, RAY
    sends = {"8": 1.0, "64": 1.0, "256": 2.0, "1,000": 6.0, "10,000": 6.0}
    small = "1 KB, rewritten"
    waits = "200 calls that wait for 100 ms"
    many, threads = "100, async nodes", "100, sync nodes in threads"
    return (
        Mark("Step of a node, 1 KB, to LangGraph", "steps", small, "step", "×", 2.0, against=lg),
        Mark("Step of a node, 1 KB, to raw Ray", "steps", small, "step", "×", 0.3, against=ray),
        Mark("1 MB, rewritten", "steps", "1 MB, rewritten", "step", "×", 8.0, against=lg),
        Mark("1 MB, read only", "steps", "1 MB, read only", "step", "×", 2.5, against=lg),
        Mark("First event, warm", "first", "warm", "first event", "ms", 1.5),
        Mark("First event after rest", "first", "after a second of rest", "first event", "ms", 4.0),
        Mark("Token at 50/s, p50", "stream", "1 task, 50/s", "p50", "ms", 0.3),
        Mark("Token at 50/s, p99", "stream", "1 task, 50/s", "p99", "ms", 1.0),
        *(
            Mark(f"Events, {case}", "stream", case, "throughput", "events/s", at_least=300_000)
            for case in ("1 task, flat out", "8 tasks, flat out")
        ),
        *(
            Mark(f"Rate of {count} `Send`s", "fanout", count, "rate", "×", None, least, lg)
            for count, least in sends.items()
        ),
        Mark(
            "8 tool calls that compute, on 2 cores",
            "tools",
            "8 calls that compute for 500 ms",
            "wall",
            "×",
            round(1 / 1.7, 2),
            against=lg,
        ),
        Mark("200 tool calls that wait", "tools", waits, "wall", "×", 1.2, against=ASYNCIO),
        Mark("10 MB unchanged, 20 steps", "large", "20 steps", "wall", "×", 1.1, against=ray),
        Mark(
            "10 MB unchanged, once a worker holds it, to 1 KB",
            "large",
            "10 MB, once a worker holds it",
            "step",
            "×",
            1.2,
            base=("1 KB, in the same way", "step"),
        ),
        Mark("Saved steps, SQLite", "durable", "SQLite", "step", "×", 1.3, against=lg),
        Mark("Saved steps, in memory", "durable", "in memory", "step", "×", 1.5, against=lg),
        Mark("100 runs, async nodes", "runs", many, "wall", "×", 1.2, against=lg),
        Mark('100 runs, `placement="thread"`', "runs", threads, "wall", "×", 1.2, against=lg),
        *(
            Mark(f"{title}, p99 to p50 of a step", "runs", case, "step p99", "×", 3.0, base=base)
            for title, case, base in (
                ("100 runs, async nodes", many, (many, "step p50")),
                ('100 runs, `placement="thread"`', threads, (threads, "step p50")),
            )
        ),
    )


MARKS = _marks()
