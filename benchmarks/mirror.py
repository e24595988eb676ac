"""What a mirror of the broker costs: ``python -m benchmarks.mirror``.

Runs the benchmarks of first events and of streams in fresh processes, with a mirror and without
one in turn (``DISTGRAPH_MIRROR``).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import one_table, pages
from benchmarks.harness import OURS
from benchmarks.progress import progress

ROOT = Path(__file__).parents[1]
REPEAT = 2

SHOWN = (
    ("first", "warm", "first event", "first event of a warm run, ms"),
    ("stream", "1 task, 50/s", "p50", "token at 50 a second, median, ms"),
    ("stream", "1 task, 50/s", "p99", "token at 50 a second, p99, ms"),
    ("stream", "1 task, flat out", "throughput", "events a second, 1 task"),
    ("stream", "8 tasks, flat out", "throughput", "events a second, 8 tasks"),
)
"""Family, case, metric, and how the row is called."""

Figures = Mapping[str, list[float]]
"""Row → what was measured, one a repetition."""


def figures(found: Mapping[str, Any]) -> Figures:
    """Return the samples of distgraph in the JSON of the benchmarks."""
    samples: dict[tuple[str, str, str], list[float]] = {
        (family["name"], case["name"], metric["name"]): metric["contenders"][OURS]["samples"]
        for family in found["families"]
        for case in family["cases"]
        for metric in case["metrics"]
        if OURS in metric["contenders"]
    }
    return {title: samples.get((family, case, name), []) for family, case, name, title in SHOWN}


def measured(mirrors: int) -> Figures:
    """Run the benchmarks once, with a mirror or without one.

    Raises:
        RuntimeError: They failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        options = ["--quick", "--repeat", "1", "--only", "first", "--only", "stream"]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *options, "--json", str(path)],
            cwd=ROOT,
            env={**os.environ, "DISTGRAPH_MIRROR": str(mirrors), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
        return figures(json.loads(path.read_text(encoding="utf-8")))


def as_markdown(without: Sequence[Figures], with_mirror: Sequence[Figures]) -> str:
    """Return the table: of each figure the least and the most."""
    from benchmarks.report import table

    rows = []
    for *_, title in SHOWN:
        cells = [
            _span([s for one in found for s in one[title]]) for found in (without, with_mirror)
        ]
        rows.append([title, *cells])
    lines = table(["", "without a mirror", "with a mirror"], rows)
    return "\n".join(lines)


def _span(samples: Sequence[float]) -> str:
    from benchmarks.report import number

    if not samples:
        return ""
    middle = number(statistics.median(samples))
    low, high = number(min(samples)), number(max(samples))
    return middle if low == high else f"{middle} ({low} to {high})"


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    arguments = one_table.parser("mirror", __doc__, REPEAT, "runs of each kind").parse_args(given)
    found: tuple[list[Figures], list[Figures]] = ([], [])
    with progress("mirror", 2 * arguments.repeat) as tell:
        for _ in range(arguments.repeat):
            for mirrors in (0, 1):
                tell("with a mirror" if mirrors else "without a mirror")
                found[mirrors].append(measured(mirrors))
    text = as_markdown(*found)
    one_table.publish(text, pages.LIMITS, "mirror", write=arguments.write_docs)


if __name__ == "__main__":
    main()
