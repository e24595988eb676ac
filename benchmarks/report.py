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

_START, _END = "<!-- results -->", "<!-- end of results -->"
_TOP_START, _TOP_END = "<!-- at a glance -->", "<!-- end of at a glance -->"
_TARGETS_START, _TARGETS_END = "<!-- targets -->", "<!-- end of targets -->"
_PROFILE_START, _PROFILE_END = "<!-- profile -->", "<!-- end of profile -->"


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
            first = metric is result.case.metrics[0]
            if brief:
                row.append(_cpu_ratio(result) if first else "")
            else:
                row += [_used(result, columns, what) if first else "" for what in ("cpu", "memory")]
            rows.append(row)
    heads = [TITLES[name] for name in columns]
    heads += [f"distgraph ÷ {TITLES[name]}" for name in ratios]
    heads += ["CPU ÷ LangGraph"] if brief else ["CPU, s", "memory, MB"]
    lines = table(["case", "", *heads], rows)
    for result in results:
        for name, reason in result.failures.items():
            lines += ["", f"{result.case.name}: {TITLES[name]} failed ({reason})"]
    return lines


def _median(found: Sequence[Usage], what: str) -> float:
    return statistics.median(getattr(used, what) for used in found)


def _used(result: CaseResult, columns: Sequence[str], what: str) -> str:
    """Return what each contender used, in the order of the columns."""
    shown = [
        number(_median(result.usage[name], what)) if result.usage.get(name) else "–"
        for name in columns
    ]
    return " · ".join(shown) if result.usage else ""


def _cpu_ratio(result: CaseResult) -> str:
    """Return the CPU seconds of distgraph as a multiple of LangGraph's."""
    if not (result.usage.get(OURS) and result.usage.get(LANGGRAPH)):
        return ""
    base = _median(result.usage[LANGGRAPH], "cpu")
    # below a tenth of a second, a clock of 10 ms decides
    return f"{number(_median(result.usage[OURS], 'cpu') / base)}×" if base >= 0.1 else ""


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


def into_page(
    page: str, report: str, glance: str = "", profile: str = "", targets: str = ""
) -> str:
    """Put a report between the markers of a page, with what is seen at a glance, which targets were
    reached, and a profile.

    Raises:
        ValueError: The page has no markers.
    """
    if glance:
        page = _between(page, _TOP_START, _TOP_END, glance)
    if targets:
        page = _between(page, _TARGETS_START, _TARGETS_END, targets)
    if profile:
        page = _between(page, _PROFILE_START, _PROFILE_END, profile)
    return _between(page, _START, _END, report)


def into_limits(page: str, break_even: str) -> str:
    """Put the break-even into the page of the limits.

    Raises:
        ValueError: The page has no markers.
    """
    return _between(page, "<!-- break-even -->", "<!-- end of break-even -->", break_even)


def _between(page: str, begin: str, stop: str, text: str) -> str:
    before, start, rest = page.partition(begin)
    _, end, after = rest.partition(stop)
    if not start or not end:
        raise ValueError(f"the page has no {begin} … {stop} to put the results between")
    return f"{before}{begin}\n\n{text.strip()}\n\n{stop}{after}"
