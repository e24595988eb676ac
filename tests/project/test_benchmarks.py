"""The benchmarks: statistics, taking turns, the tables, and the command itself."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import chart, pages, report
from benchmarks.__main__ import MODULES
from benchmarks.harness import (
    LANGGRAPH,
    OURS,
    RAY,
    RAY_CALLER,
    Case,
    CaseResult,
    Contender,
    Family,
    Metric,
    Summary,
    check,
    measure,
    percentile,
    turns,
)
from benchmarks.marks import MARKS, WHY, Mark
from benchmarks.profile import Spent, profiled, role, rows
from benchmarks.usage import Clock, Usage, measured
from distgraph.concurrency.threads import daemon

ROOT = Path(__file__).parents[2]
WALL = Metric("wall", "ms")
SIZES = {"large": (4.0, 9.0), "small": (2.0, 3.0)}
MARKERS: Mapping[Path, Sequence[str]] = {
    pages.PAGE: (
        *("at a glance", "targets", "profile", "results", "usage"),
        *("cold start", "main example"),
    ),
    pages.LIMITS: ("cost of a step", "break-even", "one driver", "mirror"),
    pages.SIZING: ("drivers", "what drivers carry"),
}
MACHINE = {
    "date": "2000-01-01 00:00 UTC",
    "cores": 2,
    "memory_gb": 8.0,
    "system": "Linux x86_64",
    "python": "3.11.0",
    "distgraph": "0.1.0",
    "ray": "2.60.0",
    "langgraph": "1.2.22",
    "load_at_start": 0.1,
}


def _values(name: str, *values: float) -> Contender:
    """A contender that reports one value after the other."""
    left = list(values)

    def run() -> Mapping[str, float]:
        return {"wall": left.pop(0)}

    return Contender(name, run)


FIRST, RATE = Metric("first event", "ms"), Metric("rate", "tasks/s", better="more")


def _first(name: str, value: float) -> Contender:
    return Contender(name, lambda: {FIRST.name: value})


def _step(name: str, value: float) -> Contender:
    return Contender(name, lambda: {"step": value})


def _rate(name: str, value: float) -> Contender:
    return Contender(name, lambda: {RATE.name: value})


def _family(case: Case) -> Family:
    return Family("first", "A title", "A note.", lambda plan: (case,))


# --- statistics ---------------------------------------------------------------------------------


def test_a_percentile_is_interpolated_between_the_nearest_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, p) for p in (0, 25, 50, 75, 100)] == [1.0, 1.75, 2.5, 3.25, 4.0]


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_summary_has_median_quartiles_and_extremes() -> None:
    found = Summary.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert found == Summary(median=3.0, q1=2.0, q3=4.0, low=1.0, high=5.0, count=5)


def test_one_sample_is_its_own_spread() -> None:
    assert Summary.of([7.0]) == Summary(7.0, 7.0, 7.0, 7.0, 7.0, 1)


def test_a_ratio_is_taken_within_each_repetition() -> None:
    # the machine was ten times slower in the last repetition: that hits both
    ours, ray = _values(OURS, 2.0, 4.0, 40.0), _values(RAY, 1.0, 2.0, 10.0)
    [result] = measure([Case("a", (WALL,), (ours, ray))], 3)
    assert result.ratio("wall", OURS, RAY) == 2.0


def test_there_is_no_ratio_to_what_was_not_measured_or_is_zero() -> None:
    result = CaseResult(Case("a", (WALL,), ()), {(OURS, "wall"): [1.0], (RAY, "wall"): [0.0]})
    assert result.ratio("wall", OURS, LANGGRAPH) is None
    assert result.ratio("wall", OURS, RAY) is None


# --- taking turns -------------------------------------------------------------------------------


def test_each_contender_begins_a_repetition_in_turn() -> None:
    contenders = [_values(name) for name in (OURS, LANGGRAPH, RAY)]
    orders = [[c.name for c in turns(contenders, repetition)] for repetition in range(4)]
    assert orders == [
        [OURS, LANGGRAPH, RAY],
        [LANGGRAPH, RAY, OURS],
        [RAY, OURS, LANGGRAPH],
        [OURS, LANGGRAPH, RAY],
    ]


def test_repetitions_interleave_cases_and_contenders_and_warm_up_first() -> None:
    seen: list[str] = []

    def contender(case: str, name: str) -> Contender:
        def run() -> Mapping[str, float]:
            seen.append(f"{case} {name}")
            return {"wall": 1.0}

        return Contender(name, run, lambda: seen.append("warm"))

    cases = [Case(c, (WALL,), (contender(c, OURS), contender(c, RAY))) for c in ("a", "b")]
    measure(cases, 2)
    assert seen[::2] == ["warm"] * 8
    assert seen[1::2] == [
        *("a ours", "a ray", "b ours", "b ray"),
        *("a ray", "a ours", "b ray", "b ours"),
    ]


def test_a_contender_that_fails_is_given_up_and_the_others_go_on() -> None:
    runs: list[int] = []

    def broken() -> Mapping[str, float]:
        runs.append(1)
        check("sum", 1, 2)
        return {}

    case = Case("a", (WALL,), (Contender(OURS, broken), _values(RAY, 1.0, 2.0)))
    [result] = measure([case], 2)
    assert result.failures == {OURS: "AssertionError: sum: expected 2, got 1"}
    assert result.samples == {(RAY, "wall"): [1.0, 2.0]}
    assert len(runs) == 1


def test_a_metric_that_the_case_does_not_have_is_an_error() -> None:
    case = Case("a", (WALL,), (Contender(OURS, lambda: {"speed": 1.0}),))
    with pytest.raises(KeyError, match="speed"):
        measure([case], 1)


# --- the report ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0123, "0.012"),
        (0.5, "0.5"),
        (1.0, "1"),
        (2.345, "2.35"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234567.8, "1,234,568"),
    ],
)
def test_numbers_have_about_three_digits(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_the_table_shows_medians_quartiles_and_ratios() -> None:
    case = Case(
        "warm",
        (WALL,),
        (
            _values(OURS, 4.0, 6.0, 8.0),
            _values(LANGGRAPH, 1.0, 2.0, 2.0),
            _values(RAY, 2.0, 2.0, 2.0),
        ),
    )
    [result] = measure([case], 3)
    used = {OURS: Usage(1.0, 100.0), LANGGRAPH: Usage(2.0, 200.0), RAY: Usage(3.0, 300.0)}
    result.usage = {name: [one] for name, one in used.items()}
    text = report.as_markdown([_family(case)], {"first": [result]}, MACHINE, repetitions=3)
    assert text.splitlines()[-2:] == [
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: |",
        "| warm | wall, ms | 6 (5–7) | 2 (1.5–2) | 2 (2–2) | 4× | 3× | 1 · 2 · 3 "
        "| 100 · 200 · 300 |",
    ]
    assert "on 2 cores, 8.0 GB, Linux x86_64, Python 3.11.0" in text
    assert "repetitions 3" in text


def test_the_page_shows_medians_and_marks_those_whose_quartiles_lie_far_apart() -> None:
    case = Case("warm", (WALL,), (_values(OURS, 4.0, 6.0, 8.0), _values(LANGGRAPH, 2.0, 2.0, 2.0)))
    [result] = measure([case], 3)
    used = {OURS: Usage(1.0, 2900.0), LANGGRAPH: Usage(2.0, 400.0)}
    result.usage = {name: [one] for name, one in used.items()}
    text = report.as_markdown([_family(case)], {"first": [result]}, MACHINE, brief=True)
    assert text.splitlines()[-3:] == [
        "| case |  | distgraph | LangGraph | distgraph ÷ LangGraph |",
        "| :-- | :-- | --: | --: | --: |",
        "| warm | wall, ms | ~6 | 2 | 3× |",
    ]
    assert text.splitlines()[2] == (
        "Memory, at most: 2.9 GB for the processes of distgraph and Ray together, 0.4 GB for the "
        "one process of LangGraph."
    )


def test_cpu_seconds_and_memory_are_columns_of_a_table_of_all_cases() -> None:
    first, second, third = (Case(name, (WALL,), ()) for name in ("a", "b", "c"))
    results = [CaseResult(case) for case in (first, second, third)]
    results[0].usage = {OURS: [Usage(1.5, 2900.4)], LANGGRAPH: [Usage(0.5, 400.0)]}
    results[1].usage = {OURS: [Usage(0.126, 3000.0)], LANGGRAPH: [Usage(0.009, 90.0)]}
    results[2].usage = {OURS: [Usage(1.0, 1.0)]}  # LangGraph has failed
    assert report.usage_table([_family(first)], {"first": results}).splitlines() == [
        "|  | case | CPU, s: distgraph | CPU, s: LangGraph | CPU ÷ LangGraph | MB: distgraph "
        "| MB: LangGraph |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
        "| A title | a | 1.5 | 0.5 | 3× | 2,900 | 400 |",
        "|  | b | 0.13 | 0.009 |  | 3,000 | 90 |",
    ]
    assert report.usage_table([_family(first)], {"first": [results[2]]}) == ""


def test_the_page_leaves_details_out() -> None:
    metrics = (WALL, Metric("p95", "ms", is_detail=True))
    case = Case("warm", metrics, (_values(OURS, 4.0), _values(RAY_CALLER, 2.0)))
    results = {"first": measure([case], 1)}
    brief = report.tables([_family(case)], results, brief=True)
    assert [line.split(" | ")[:2] for line in brief.splitlines() if line.startswith("| warm")] == [
        ["| warm", "wall, ms"]
    ]
    assert "raw Ray" not in brief
    whole = report.tables([_family(case)], results)
    assert "raw Ray, from the caller" in whole
    assert "p95" in whole


def test_the_table_names_what_failed_and_why() -> None:
    def broken() -> Mapping[str, float]:
        raise RuntimeError("no")

    case = Case("warm", (WALL,), (Contender(OURS, broken), _values(RAY, 1.0)))
    [result] = measure([case], 1)
    result.usage.clear()
    text = report.as_markdown([_family(case)], {"first": [result]}, MACHINE)
    assert "| warm | wall, ms | failed | 1 |  |" in text
    assert "warm: distgraph failed (RuntimeError: no)" in text


def test_the_json_holds_every_sample_and_the_ratios() -> None:
    case = Case("warm", (WALL,), (_values(OURS, 4.0, 6.0), _values(RAY, 2.0, 2.0)))
    found = report.as_json([_family(case)], {"first": measure([case], 2)}, MACHINE, repetitions=2)
    [metric] = found["families"][0]["cases"][0]["metrics"]
    assert metric["contenders"]["ours"]["samples"] == [4.0, 6.0]
    assert metric["contenders"]["ours"]["median"] == 5.0
    assert metric["ratios"] == {"ours/ray": 2.5}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("mark", "value", "verdict"),
    [
        (Mark("m", "f", "c", "w", "ms", at_most=8.0), 8.0, "reached"),
        (Mark("m", "f", "c", "w", "ms", at_most=8.0), 8.1, "missed"),
        (Mark("m", "f", "c", "w", "/s", at_least=100.0), 100.0, "reached"),
        (Mark("m", "f", "c", "w", "/s", at_least=100.0), 99.0, "missed"),
        (Mark("m", "f", "c", "w", "ms", at_most=8.0), None, "not measured"),
    ],
)
def test_a_mark_is_reached_missed_or_not_measured(
    mark: Mark, value: float | None, verdict: str
) -> None:
    assert mark.verdict(value) == verdict


def test_a_mark_looks_at_the_median_or_at_the_ratio() -> None:
    case = Case("c", (WALL,), (_values(OURS, 4.0, 6.0), _values(RAY, 2.0, 2.0)))
    results = {"f": measure([case], 2)}
    assert Mark("m", "f", "c", "wall", "ms", at_most=1.0).value(results) == 5.0
    assert Mark("m", "f", "c", "wall", "×", at_most=1.0, against=RAY).value(results) == 2.5
    assert Mark("m", "f", "elsewhere", "wall", "ms", at_most=1.0).value(results) is None


def test_a_mark_looks_at_another_case_or_metric_within_each_repetition() -> None:
    large, small = (Case(n, (WALL,), (_values(OURS, *v),)) for n, v in SIZES.items())
    results = {"f": measure([large, small], 2)}
    mark = Mark("m", "f", "large", "wall", "×", at_most=1.0, base=("small", "wall"))
    assert mark.value(results) == 2.5  # the median of 4 ÷ 2 and 9 ÷ 3
    assert mark.value({"f": results["f"][:1]}) is None
    assert mark.value({"f": results["f"][1:]}) is None


def test_results_replace_what_a_page_has_between_its_markers() -> None:
    page = "a\n<!-- results -->\nold\n<!-- end of results -->\nb\n"
    once = pages.filled(page, {"results": "new\n"})
    assert once == "a\n<!-- results -->\n\nnew\n\n<!-- end of results -->\nb\n"
    assert pages.filled(once, {"results": "new\n"}) == once
    assert pages.filled(once, {"results": "\n"}) == once


def test_each_text_has_markers_of_its_own() -> None:
    page = (
        "<!-- at a glance --><!-- end of at a glance -->\n<!-- results --><!-- end of results -->"
    )
    assert pages.filled(page, {"results": "tables", "at a glance": "lines"}).splitlines() == [
        *("<!-- at a glance -->", "", "lines", "", "<!-- end of at a glance -->"),
        *("<!-- results -->", "", "tables", "", "<!-- end of results -->"),
    ]


def test_a_bar_is_the_time_of_a_case_as_a_multiple_of_langgraphs() -> None:
    first = Case("warm", (FIRST,), (_first(OURS, 8.0), _first(LANGGRAPH, 2.0)))
    rate = Case("8", (RATE,), (_rate(OURS, 40.0), _rate(LANGGRAPH, 10.0)))
    results = {"first": measure([first], 1), "fanout": measure([rate], 1)}
    assert chart.bars(results) == [
        ("8 trivial tasks in a step", 0.25),
        ("first event of a run", 4.0),
    ]
    svg = ElementTree.fromstring(chart.as_svg(results))
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-4:] == ["8 trivial tasks in a step", "0.25×", "first event of a run", "4×"]
    assert chart.sentences(results) == ["- The first event of a warm run comes after 8 ms."]


def test_the_cost_of_a_step_is_a_sentence_if_it_was_measured() -> None:
    case = Case(
        "1 KB, rewritten", (Metric("step", "ms"),), (_step(OURS, 0.6), _step(LANGGRAPH, 0.2))
    )
    assert chart.cost_of_a_step({"steps": measure([case], 1)}) == (
        "A superstep of a trivial node takes 0.4 ms longer on Ray than in process."
    )
    assert chart.cost_of_a_step({}) == ""


def test_what_a_contender_uses_is_measured() -> None:
    def work() -> int:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        return 1

    result, used = measured(work, alone=True)
    assert result == 1
    if sys.platform == "linux":
        assert used is not None
        assert 0.08 <= used.cpu < 1.0
        assert 1.0 < used.memory < 10_000
    else:
        assert used is None


def test_cpu_seconds_are_those_of_threads_unless_some_have_ended() -> None:
    before = Clock(10.0, {1: 4.0, 2: 6.0})
    # the system shows 10 ms more, threads have used 4.5 ms, one of them new
    assert Clock(10.01, {1: 4.004, 2: 6.0, 3: 0.0005}).since(before) == pytest.approx(0.0045)
    # a thread that has ended took 5 s with it, which the whole has: to a tick of the system
    assert 0.48 <= Clock(10.5, {1: 4.0}).since(before) <= 0.5


def test_a_missed_mark_is_a_link_to_the_reason_and_every_reason_is_on_the_page() -> None:
    mark = MARKS[0]
    case = Case(mark.case, (Metric("step", "ms"),), (_step(OURS, 5.0), _step(LANGGRAPH, 1.0)))
    text = report.as_markdown([], {mark.family: measure([case], 1)}, MACHINE)
    assert "| Step of a node, 1 KB, to LangGraph | ≤ 2 × | 5 | [missed](#a-step) |" in text
    page = (ROOT / "docs" / "project" / "benchmarks.md").read_text(encoding="utf-8")
    headings = {
        line.removeprefix("### ").lower().replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("### ")
    }
    assert {WHY[mark.family] for mark in MARKS} <= headings


def test_a_profile_adds_up_what_threads_of_one_name_use() -> None:
    first = {("driver", "distgraph-runs"): Spent(100.0, 2.0), ("workers", "main"): Spent(50.0, 1.5)}
    second = {("driver", "distgraph-runs"): Spent(30.0), ("broker", "main"): Spent(4.9)}
    assert rows([(first, 90.0), (second, 1234.0)]) == [
        ["driver", "distgraph-runs", "100", "30"],
        ["workers", "main", "50", "0"],
        ["all", "", "150", "35"],
        ["all", "changes", "3.5", "0.0"],
        ["LangGraph", "all", "90", "1,234"],
    ]
    assert Spent(9.0, 4.0).since(Spent(1.0, 2.0), 2) == Spent(4.0, 1.0)
    roles = ("ray::SuperstepDriver", "ray::IDLE", "ray::step", "ray::DashboardAgent", "raylet")
    assert [role(title, is_caller=False) for title in roles] == [
        *("driver", "workers", "workers", "Ray", "Ray")
    ]


@pytest.mark.skipif(
    sys.platform != "linux", reason="CPU time of threads is read from Linux's /proc"
)
def test_a_profile_tells_the_threads_of_a_process_apart() -> None:
    burnt, over = threading.Event(), threading.Event()

    def burn() -> None:
        while time.thread_time() < 0.2:
            pass
        burnt.set()
        over.wait()

    thread = daemon(burn, "distgraph-metrics")

    def work() -> None:
        thread.start()
        burnt.wait()

    found = profiled(work, 1)
    over.set()
    thread.join()
    assert found["caller", "distgraph-metri"].cpu >= 50_000  # as the system shows the name


@pytest.mark.skipif(
    sys.platform != "linux", reason="CPU time of threads is read from Linux's /proc"
)
def test_a_profile_counts_threads_that_have_ended() -> None:
    def burn() -> None:
        while time.thread_time() < 0.2:
            pass

    def work() -> None:
        thread = daemon(burn, "distgraph-metrics")
        thread.start()
        thread.join()

    found = profiled(work, 1)
    assert ("caller", "ended") in found
    # the looks themselves use CPU between two clocks: the sum of the process is exact
    assert sum(spent.cpu for (kind, _), spent in found.items() if kind == "caller") >= 200_000


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="results"):
        pages.filled("a\n", {"results": "new\n"})


@pytest.mark.parametrize(("page", "names"), MARKERS.items(), ids=lambda x: getattr(x, "name", ""))
def test_the_pages_of_the_documentation_have_the_markers(page: Path, names: Sequence[str]) -> None:
    made = pages.filled(page.read_text(encoding="utf-8"), dict.fromkeys(names, "x"))
    assert [made.count(f"<!-- {name} -->\n\nx\n\n<!-- end of") for name in names] == [1] * len(
        names
    )


# --- the command --------------------------------------------------------------------------------


def test_every_family_has_a_module_of_that_name_and_every_mark_a_family() -> None:
    families = {
        name: importlib.import_module(f"benchmarks.{m}").FAMILY for name, m in MODULES.items()
    }
    assert {name: family.name for name, family in families.items()} == {n: n for n in MODULES}
    assert {mark.family for mark in MARKS} <= set(MODULES)


@pytest.mark.ray
def test_the_command_measures_all_contenders_and_writes_both_reports(tmp_path: Path) -> None:
    json_path, markdown_path = tmp_path / "out" / "found.json", tmp_path / "out" / "found.md"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--only", "cpu", "--repeat", "1"),
            *("--json", str(json_path), "--markdown", str(markdown_path)),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    found = json.loads(json_path.read_text())
    [family] = found["families"]
    [case] = family["cases"]
    [metric] = case["metrics"]
    assert case["failures"] == {}
    assert set(metric["contenders"]) == {OURS, LANGGRAPH, RAY}
    assert all(len(c["samples"]) == 1 for c in metric["contenders"].values())
    assert done.stdout.strip() == markdown_path.read_text().strip()
