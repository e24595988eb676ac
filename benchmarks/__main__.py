"""The command: ``python -m benchmarks [--quick] [--only NAME] [--repeat N] [--json PATH] …``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import break_even, chart, cold_start, machine, main_example, pages, profile, report
from benchmarks.harness import CaseResult, Plan, measure
from benchmarks.progress import progress

if TYPE_CHECKING:
    from benchmarks.harness import Family

MODULES = {
    "first": "first_event",
    "steps": "steps",
    "calls": "calls",
    "fanout": "fanout",
    "stream": "streaming",
    "cpu": "cpu",
    "waiting": "waiting",
    "tools": "tools",
    "large": "large_state",
    "durable": "durable",
    "runs": "runs",
    "shapes": "shapes",
}
"""Name of a family → its module, in the order of the report."""

REPEAT, REPEAT_QUICK = 7, 2


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure distgraph on Ray beside LangGraph in process and raw Ray.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="less work: a few minutes for everything"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=tuple(MODULES),
        metavar="NAME",
        help=f"one family, may be repeated: {', '.join(MODULES)}",
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each case")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything measured")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables")
    parser.add_argument(
        "--page", type=Path, metavar="PATH", help="put the tables into a page that has markers"
    )
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw the chart, an SVG")
    parser.add_argument(
        "--limits", type=Path, metavar="PATH", help="with --page: put the break-even into a page"
    )
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="--page, --chart and --limits of the docs",
    )
    found = parser.parse_args(given)
    if found.write_docs:
        found.page, found.chart = found.page or pages.PAGE, found.chart or pages.CHART
        found.limits = found.limits or pages.LIMITS
    return found


def _start_ray() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    warnings.filterwarnings("ignore", category=FutureWarning)
    import ray

    address = os.environ.get("RAY_ADDRESS", "local")
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)


def _end_ray() -> None:
    import ray

    import actors

    actors.end_session()
    ray.shutdown()


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print the report, and return the exit status: 1 where a contender failed."""
    arguments = _arguments(given)
    plan = Plan(quick=arguments.quick)
    repeat = arguments.repeat or (REPEAT_QUICK if plan.quick else REPEAT)
    names = [name for name in MODULES if not arguments.only or name in arguments.only]
    where = machine.describe()
    _start_ray()
    families: list[Family] = []
    results: dict[str, Sequence[CaseResult]] = {}
    for name in names:
        family: Family = importlib.import_module(f"benchmarks.{MODULES[name]}").FAMILY
        families.append(family)
        cases = family.cases(plan)
        with progress(name, repeat * sum(len(case.contenders) for case in cases)) as tell:
            results[name] = measure(cases, repeat, tell)
    options: dict[str, Any] = {"repetitions": repeat, **({"sizes": "quick"} if plan.quick else {})}
    text = report.as_markdown(families, results, where, **options)
    print(text)
    if arguments.json:
        found = report.as_json(families, results, where, **options)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.chart:
        arguments.chart.parent.mkdir(parents=True, exist_ok=True)
        arguments.chart.write_text(chart.as_svg(results), encoding="utf-8")
    if arguments.page:
        texts = {
            "at a glance": "\n".join(chart.sentences(results)),
            "targets": report.targets(results, where, brief=True, **options),
            "usage": report.usage_table(families, results),
            "results": report.tables(families, results, brief=True),
            "profile": profile.as_markdown(),
        }
        if arguments.limits:
            even = break_even.as_markdown(break_even.run_all(), machine.cores())
            step = chart.cost_of_a_step(results)
            pages.write(arguments.limits, {"break-even": even, "cost of a step": step})
        _end_ray()  # what follows starts programs with a Ray of their own
        texts["cold start"] = cold_start.as_markdown(cold_start.measured())
        texts["main example"] = main_example.as_markdown(main_example.measured())
        pages.write(arguments.page, texts)
    return int(any(result.failures for found in results.values() for result in found))


if __name__ == "__main__":
    sys.exit(main())
