"""How well the main example uses the cores: ``python -m benchmarks.main_example``.

Runs ``examples/agent.py`` in a fresh process, as users do, and reads what it prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import one_table, pages
from benchmarks.harness import OURS, Case, CaseResult, Contender, Metric, measure
from benchmarks.progress import progress

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "examples" / "agent.py"
REPEAT = 3
LIMIT = 300.0
"""Seconds for one run."""
TARGET = 90.0
"""Per cent of the cores that the tool calls should use."""

CALLS = Metric("tool calls", "")
COMPUTED, WALL = Metric("computed, CPU seconds", "s"), Metric("took", "s")
USED = Metric("of the cores", "%")
FIRST = Metric("first event after the program's start", "s")
METRICS = (CALLS, COMPUTED, WALL, USED, FIRST)

_GAIN = re.compile(r"(\d+) tool calls computed ([\d.]+) s in ([\d.]+) s: .*\((\d+)% of \d+ cores")
_FIRST = re.compile(r"The first event came ([\d.]+) s after")


def read(printed: str) -> Mapping[str, float]:
    """Return the figures that the program has printed.

    Raises:
        ValueError: There are none.
    """
    gain, first = _GAIN.search(printed), _FIRST.search(printed)
    if gain is None or first is None:
        raise ValueError(f"the program printed no figures: {printed[-500:]!r}")
    found = [*map(float, gain.groups()), float(first[1])]
    return dict(zip((metric.name for metric in METRICS), found, strict=True))


def run(*options: str) -> Mapping[str, float]:
    """Run the program once.

    Raises:
        RuntimeError: It failed.
    """
    left_out = ("RAY_ADDRESS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "DISTGRAPH_BACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *options],
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return read(done.stdout)


def measured(repeat: int = REPEAT) -> CaseResult:
    """Run the program ``repeat`` times."""
    case = Case("examples/agent.py", METRICS, (Contender(OURS, run),))
    with progress("example", repeat) as tell:
        [result] = measure([case], repeat, tell)
    return result


def as_markdown(result: CaseResult) -> str:
    """Return the table: the medians of the figures, and whether the target is reached."""
    from benchmarks.report import number, table

    if OURS in result.failures:
        return f"The main example failed ({result.failures[OURS]})"
    found = {name: result.summary(OURS, name) for name in (m.name for m in METRICS)}
    medians = {name: one.median if one else 0.0 for name, one in found.items()}
    cells = [f"{number(medians[metric.name])} {metric.unit}".strip() for metric in METRICS]
    verdict = "reached" if medians[USED.name] >= TARGET else "missed"
    runs = str(len(result.samples[OURS, USED.name]))
    heads = ["", "runs", *(metric.name for metric in METRICS), f"target: ≥ {TARGET:.0f} %"]
    return "\n".join(table(heads, [[f"`{result.case.name}`", runs, *cells, verdict]]))


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status: 1 where the program failed."""
    arguments = one_table.parser("main_example", __doc__, REPEAT, "runs").parse_args(given)
    result = measured(arguments.repeat)
    text = as_markdown(result)
    one_table.publish(text, pages.PAGE, "main example", write=arguments.write_docs)
    return int(bool(result.failures))


if __name__ == "__main__":
    sys.exit(main())
