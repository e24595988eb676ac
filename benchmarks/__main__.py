"""The command: ``python -m benchmarks [--quick] [--only NAME] [--repeat N] [--json PATH] …``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import break_even, chart, machine, profile, report
from benchmarks.harness import CaseResult, Plan, Tell, measure

if TYPE_CHECKING:
    from benchmarks.harness import Family

MODULES = {
    "first": "first_event",
    "steps": "steps",
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

_DOCS = Path(__file__).parents[1] / "docs"
LIMITS = _DOCS / "project" / "limits.md"
PAGE, CHART = _DOCS / "project" / "benchmarks.md", _DOCS / "images" / "benchmarks.svg"


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
        found.page, found.chart = found.page or PAGE, found.chart or CHART
        found.limits = found.limits or LIMITS
    return found


@contextmanager
def _progress(title: str, total: int) -> Iterator[Tell]:
    """Show how far a family is, on the standard error."""
    done = 0
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        Console = Progress = None  # type: ignore[assignment, misc]
    console = Console(stderr=True) if Console is not None else None
    if console is None or not console.is_terminal:

        def tell(what: str) -> None:
            nonlocal done
            done += 1
            print(f"[{title} {done}/{total}] {what}", file=sys.stderr, flush=True)

        yield tell
        return
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(title, total=total)

        def show(what: str) -> None:
            nonlocal done
            progress.update(bar, completed=done, description=f"{title}: {what}")
            done += 1

        yield show


def _start_ray() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    warnings.filterwarnings("ignore", category=FutureWarning)
    import ray

    address = os.environ.get("RAY_ADDRESS", "local")
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)


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
        with _progress(name, repeat * sum(len(case.contenders) for case in cases)) as tell:
            results[name] = measure(cases, repeat, tell)
    options = {"repetitions": repeat, **({"sizes": "quick"} if plan.quick else {})}
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
        glance = "\n".join(chart.sentences(results))
        tables = report.tables(families, results, brief=True)
        targets = report.targets(results, where, brief=True, **options)
        known = arguments.page.read_text(encoding="utf-8")
        page = report.into_page(known, tables, glance, profile.as_markdown(), targets)
        if arguments.limits:
            found = break_even.sentence(break_even.run_all(), machine.cores())
            limits = report.into_limits(arguments.limits.read_text(encoding="utf-8"), found)
            arguments.limits.write_text(limits, encoding="utf-8")
        arguments.page.write_text(page, encoding="utf-8")
    return int(any(result.failures for found in results.values() for result in found))


if __name__ == "__main__":
    sys.exit(main())
