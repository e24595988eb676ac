"""What the figures should reach: told in the report, and never a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.harness import ASYNCIO, LANGGRAPH, OURS, RAY, CaseResult

Verdict = Literal["reached", "missed", "not measured"]


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

    def value(self, results: Mapping[str, Sequence[CaseResult]]) -> float | None:
        """Return what was measured, None where it was not."""
        for result in results.get(self.family, ()):
            if result.case.name == self.case:
                if self.against is not None:
                    return result.ratio(self.metric, OURS, self.against)
                found = result.summary(OURS, self.metric)
                return found.median if found else None
        return None

    def verdict(self, value: float | None) -> Verdict:
        """Compare a value with the bound."""
        if value is None:
            return "not measured"
        low = float("-inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return "reached" if low <= value <= high else "missed"


MARKS = (
    Mark("First event of a warm run", "first", "warm", "first event", "ms", at_most=8.0),
    Mark(
        "A step of one node, against raw Ray",
        "steps",
        "1 KB, rewritten",
        "step",
        "×",
        at_most=2.0,
        against=RAY,
    ),
    Mark("Token latency p50 at 50/s", "stream", "1 task, 50/s", "p50", "ms", at_most=2.0),
    Mark(
        "Small events flat out",
        "stream",
        "1 task, flat out",
        "throughput",
        "events/s",
        at_least=100_000,
    ),
    Mark(
        "8 tool calls that compute, against LangGraph on 2 cores",
        "tools",
        "8 calls that compute for 500 ms",
        "wall",
        "×",
        at_most=round(1 / 1.7, 2),
        against=LANGGRAPH,
    ),
    Mark(
        "200 tool calls that wait, against asyncio",
        "tools",
        "200 calls that wait for 100 ms",
        "wall",
        "×",
        at_most=2.0,
        against=ASYNCIO,
    ),
)
