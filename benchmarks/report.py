"""Results as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.harness import (
    DETAILS,
    LANGGRAPH,
    OURS,
    RAY,
    TITLES,
    CaseResult,
    Family,
    Metric,
    Summary,
)
from benchmarks.marks import MARKS, WHY, Mark
from benchmarks.usage import Usage

FORMAT = 1
"""Version of the JSON's layout."""

Results = Mapping[str, Sequence[CaseResult]]


def as_json(
    families: Sequence[Family], results: Results, machine: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """Return everything that was measured, samples included."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "options": options,
        "marks": [
            {
                "title": mark.title,
                "bound": _bound(mark),
                "value": (value := mark.value(results)),
                "verdict": mark.verdict(value),
            }
            for mark in MARKS
        ],
        "families": [
            {
                "name": family.name,
                "title": family.title,
                "cases": [_case(result) for result in results[family.name]],
            }
            for family in families
        ],
    }


def _case(result: CaseResult) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "failures": dict(result.failures),
        "metrics": [_metric(result, metric) for metric in result.case.metrics],
        "usage": {
            name: {"cpu_s": _median(found, "cpu"), "memory_mb": _median(found, "memory")}
            for name, found in result.usage.items()
        },
    }


def _metric(result: CaseResult, metric: Metric) -> dict[str, Any]:
    contenders = {}
    for contender in result.case.contenders:
        found = result.summary(contender.name, metric.name)
        if found is not None:
            contenders[contender.name] = {
                "median": found.median,
                "q1": found.q1,
                "q3": found.q3,
                "min": found.low,
                "max": found.high,
                "samples": result.samples[contender.name, metric.name],
            }
    ratios = {
        f"{OURS}/{other}": ratio
        for other in (LANGGRAPH, RAY)
        if metric.compared and (ratio := result.ratio(metric.name, OURS, other)) is not None
    }
    return {
        "name": metric.name,
        "unit": metric.unit,
        "better": metric.better,
        "contenders": contenders,
        "ratios": ratios,
    }


_WIDE = 0.2
"""Distance of the quartiles, as a part of the median, from which a figure is marked."""


def as_markdown(
    families: Sequence[Family],
    results: Results,
    machine: Mapping[str, Any],
    *,
    brief: bool = False,
    **options: Any,
) -> str:
    """Return the report that people read.

    Args:
        families: What was measured.
        results: The measurements by the name of their family.
        machine: Where.
        brief: Leave out what the page does: quartiles, each contender's CPU and memory, and metrics
            that are details.
        options: How.
    """
    summary = targets(results, machine, brief=brief, **options)
    return f"{summary}\n{tables(families, results, brief=brief)}"


def targets(
    results: Results, machine: Mapping[str, Any], *, brief: bool = False, **options: Any
) -> str:
    """Return where and how was measured, and which targets were reached."""
    how = ", ".join(f"{key} {value}" for key, value in options.items())
    lines = [
        f"Measured {machine['date']} on {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}, distgraph {machine['distgraph']}, "
        f"ray {machine['ray']}, langgraph {machine['langgraph']}; "
        f"load before the start {machine['load_at_start']}; {how}.",
        "",
        *_marks(results),
    ]
    if brief and (used := _memory(results)):
        lines[1:1] = ["", used]
    return "\n".join(lines) + "\n"


def tables(families: Sequence[Family], results: Results, *, brief: bool = False) -> str:
    """Return a table for each family."""
    lines: list[str] = []
    for family in families:
        shown = _table(results[family.name], brief)
        lines += [f"### {family.title}", "", family.note, "", *shown, ""]
    return "\n".join(lines)


def _marks(results: Results) -> list[str]:
    rows = []
    for mark in MARKS:
        value = mark.value(results)
        shown = "" if value is None else number(value)
        verdict: str = mark.verdict(value)
        if verdict == "missed":
            verdict = f"[missed](#{WHY[mark.family]})"
        rows.append([mark.title, f"{_bound(mark)} {mark.unit}", shown, verdict])
    return table(["mark", "bound", "measured", ""], rows)


def _bound(mark: Mark) -> str:
    return f"≤ {number(mark.at_most)}" if mark.at_most is not None else f"≥ {mark.at_least:,.0f}"


def _memory(results: Results) -> str:
    cases = [result for family in results.values() for result in family]
    most = {
        name: max((_median(r.usage[name], "memory") for r in cases if r.usage.get(name)), default=0)
        for name in (OURS, LANGGRAPH)
    }
    if not all(most.values()):
        return ""
    return (
        f"Memory, at most: {most[OURS] / 1000:.1f} GB for the processes of distgraph and Ray "
        f"together, {most[LANGGRAPH] / 1000:.1f} GB for the one process of LangGraph."
    )


def _table(results: Sequence[CaseResult], brief: bool) -> list[str]:
    present = {c.name for r in results for c in r.case.contenders}
    columns = [name for name in TITLES if name in present and not (brief and name in DETAILS)]
    ratios = [name for name in (LANGGRAPH, RAY) if name in present and OURS in present]
    rows = []
    for result in results:
        for metric in result.case.metrics:
            if brief and metric.is_detail:
                continue
            row = [result.case.name, f"{metric.name}, {metric.unit}"]
            row += [_cell(result, name, metric, brief) for name in columns]
            row += [_ratio(result, metric, name) for name in ratios]
            if not brief:
                first = metric is result.case.metrics[0]
                row += [_used(result, columns, what) if first else "" for what in ("cpu", "memory")]
            rows.append(row)
    heads = [TITLES[name] for name in columns]
    heads += [f"distgraph ÷ {TITLES[name]}" for name in ratios]
    heads += [] if brief else ["CPU, s", "memory, MB"]
    lines = table(["case", "", *heads], rows)
    for result in results:
        for name, reason in result.failures.items():
            lines += ["", f"{result.case.name}: {TITLES[name]} failed ({reason})"]
    return lines


def _median(found: Sequence[Usage], what: str) -> float:
    return float(statistics.median(getattr(used, what) for used in found))


def _used(result: CaseResult, columns: Sequence[str], what: str) -> str:
    """Return what each contender used, in the order of the columns."""
    shown = [
        number(_median(result.usage[name], what)) if result.usage.get(name) else "–"
        for name in columns
    ]
    return " · ".join(shown) if result.usage else ""


_LEAST_CPU = 0.01
"""Seconds from which on a ratio of CPU times is shown: below, what is idle decides."""


def usage_table(families: Sequence[Family], results: Results) -> str:
    """Return CPU seconds and peak memory of each case, of all processes that took part."""
    rows = []
    for family in families:
        title = family.title
        for result in results[family.name]:
            if not (result.usage.get(OURS) and result.usage.get(LANGGRAPH)):
                continue
            cpu = [_median(result.usage[name], "cpu") for name in (OURS, LANGGRAPH)]
            memory = [_median(result.usage[name], "memory") for name in (OURS, LANGGRAPH)]
            ratio = f"{number(cpu[0] / cpu[1])}×" if cpu[1] >= _LEAST_CPU else ""
            shown = [f"{value:.3f}" if value < 0.1 else number(value) for value in cpu]
            rows.append([title, result.case.name, *shown, ratio, *(f"{m:,.0f}" for m in memory)])
            title = ""
    heads = [f"{what}: {TITLES[name]}" for what in ("CPU, s", "MB") for name in (OURS, LANGGRAPH)]
    heads.insert(2, "CPU ÷ LangGraph")
    return "\n".join(table(["", "case", *heads], rows)) if rows else ""


def _cell(result: CaseResult, contender: str, metric: Metric, brief: bool) -> str:
    if contender in result.failures:
        return "failed"
    found = result.summary(contender, metric.name)
    if found is None:
        return ""
    return brief_cell(found) if brief else cell(found)


def brief_cell(found: Summary) -> str:
    """Return a median, with a tilde where the quartiles lie far apart."""
    return ("~" if found.q3 - found.q1 > _WIDE * found.median else "") + number(found.median)


def _ratio(result: CaseResult, metric: Metric, other: str) -> str:
    ratio = result.ratio(metric.name, OURS, other) if metric.compared else None
    return "" if ratio is None else f"{number(ratio)}×"


def cell(found: Summary) -> str:
    """Return a median, with its quartiles where there were several repetitions."""
    if found.count == 1:
        return number(found.median)
    return f"{number(found.median)} ({number(found.q1)}–{number(found.q3)})"


def number(value: float) -> str:
    """Return a number with three significant digits, whole from 100 on."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 1 else 1 if abs(value) >= 10 else 2
    shown = f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table: text to the left, figures to the right."""
    ruler = [":--" if i < 2 else "--:" for i in range(len(heads))]
    return [_row(heads), _row(ruler), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
