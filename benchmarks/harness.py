"""Contenders take turns: cases, interleaved repetitions, and the statistics of what they took.

Nothing here knows Ray or a graph. All contenders of a case are measured in turn within each
repetition, starting with another one each time, so that what else the machine does hits all alike.
Ratios are taken within a repetition, and only then their median.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks import usage
from benchmarks.usage import Usage

OURS = "ours"
LANGGRAPH = "langgraph"
RAY = "ray"
RAY_CALLER = "ray_caller"
ASYNCIO = "asyncio"
LOCAL = "local"
CONNECTED = "connected"

TITLES = {
    OURS: "distgraph",
    CONNECTED: "distgraph, after `connect()`",
    LOCAL: "distgraph, in process",
    LANGGRAPH: "LangGraph",
    RAY: "raw Ray",
    RAY_CALLER: "raw Ray, from the caller",
    ASYNCIO: "asyncio",
}
"""How contenders are called in tables, in the order of their columns."""


DETAILS = frozenset({RAY_CALLER})
"""Contenders that the page of the documentation leaves out."""

IN_PROCESS = frozenset({LANGGRAPH, LOCAL, ASYNCIO})
"""Contenders of which this process is all."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity that every contender of a case reports."""

    name: str
    unit: str
    better: Literal["less", "more"] = "less"
    compared: bool = True
    """Whether a ratio between contenders means anything."""
    is_detail: bool = False
    """Whether the page of the documentation leaves it out."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of doing what a case asks for.

    Attributes:
        name: A key of ``TITLES``.
        run: Does it once, checks the outcome, and returns a value for each metric it knows.
        warm: Is called before each ``run``, outside of what is measured.
    """

    name: str
    run: Callable[[], Mapping[str, float]]
    warm: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """The same work for several contenders."""

    name: str
    metrics: tuple[Metric, ...]
    contenders: tuple[Contender, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done."""

    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        """Return a count: ``quick`` is enough to see that everything works."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Family:
    """Cases that belong together: one file, one table."""

    name: str
    title: str
    note: str
    """What is measured, for the reader of the table."""
    cases: Callable[[Plan], Sequence[Case]]


@dataclass(slots=True)
class CaseResult:
    """What the contenders of a case reported."""

    case: Case
    samples: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(contender, metric) → one value a repetition."""
    usage: dict[str, list[Usage]] = field(default_factory=dict)
    """Contender → CPU and memory, one a repetition."""
    failures: dict[str, str] = field(default_factory=dict)
    """Contender → why it was given up."""

    def summary(self, contender: str, metric: str) -> Summary | None:
        """Return the statistics of one cell, None where nothing was measured."""
        values = self.samples.get((contender, metric))
        return Summary.of(values) if values else None

    def ratio(self, metric: str, of: str, to: str) -> float | None:
        """Return the median of the ratios within each repetition."""
        return median_ratio(self.samples.get((of, metric)), self.samples.get((to, metric)))


def median_ratio(above: Sequence[float] | None, below: Sequence[float] | None) -> float | None:
    """Return the median of the ratios of one repetition each, None where there are none."""
    pairs = list(zip(above or (), below or (), strict=False))
    return statistics.median(a / b for a, b in pairs) if pairs and all(below or ()) else None


@dataclass(frozen=True, slots=True)
class Summary:
    """Median and spread of repeated measurements."""

    median: float
    q1: float
    q3: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarize at least one value; quartiles are interpolated between values."""
        return cls(
            median=percentile(values, 50),
            q1=percentile(values, 25),
            q3=percentile(values, 75),
            low=min(values),
            high=max(values),
            count=len(values),
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the two nearest values.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def turns(contenders: Sequence[Contender], repetition: int) -> list[Contender]:
    """Return the contenders in the order of a repetition: each begins equally often."""
    first = repetition % len(contenders)
    return [*contenders[first:], *contenders[:first]]


Tell = Callable[[str], object]
"""Is told what is being measured."""


def measure(
    cases: Sequence[Case], repetitions: int, tell: Tell = lambda _: None
) -> list[CaseResult]:
    """Measure cases, all contenders of each in turn, ``repetitions`` times over.

    A contender that fails is given up, with the reason, and the others go on.
    """
    results = [CaseResult(case) for case in cases]
    for repetition in range(repetitions):
        for result in results:
            for contender in turns(result.case.contenders, repetition):
                tell(f"{result.case.name}: {TITLES[contender.name]}")
                if contender.name not in result.failures:
                    _measure_one(result, contender)
    return results


def _measure_one(result: CaseResult, contender: Contender) -> None:
    known = {metric.name for metric in result.case.metrics}
    try:
        if contender.warm is not None:
            contender.warm()
        gc.collect()
        values, used = usage.measured(contender.run, alone=contender.name in IN_PROCESS)
    except Exception as error:
        result.failures[contender.name] = f"{type(error).__name__}: {error}"
        return
    if used is not None:
        result.usage.setdefault(contender.name, []).append(used)
    for name, value in values.items():
        if name not in known:
            raise KeyError(f"case {result.case.name!r} has no metric {name!r}")
        result.samples.setdefault((contender.name, name), []).append(value)


def check(what: str, found: object, expected: object) -> None:
    """Raise ``AssertionError`` where a contender did not do what it was measured at."""
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}")
