"""From which duration of a node on Ray is faster than LangGraph in one process, on this machine.

``python -m benchmarks.break_even`` runs supersteps of parallel nodes that compute in Python, with
longer and longer nodes, by both libraries in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import machine
from benchmarks.cpu import NODES, WALL, calibrated, graph_of, run
from benchmarks.engines import engines
from benchmarks.harness import LANGGRAPH, OURS

MILLISECONDS = (1, 2, 4, 8, 16, 32)
REPEATS = 7


def break_even(ratios: Sequence[tuple[int, float]]) -> int | None:
    """Return the first duration from which on the ratio stays below 1, None if it never does."""
    found = None
    for milliseconds, ratio in ratios:
        if ratio >= 1:
            found = None
        elif found is None:
            found = milliseconds
    return found


def measured(milliseconds: int) -> dict[str, float]:
    """Return the least seconds of one superstep by each library."""
    iterations = calibrated(milliseconds)
    graphs = {engine.name: graph_of(engine) for engine in engines()}
    for graph in graphs.values():
        run(graph, calibrated(20))  # long enough for every worker process to load the graph
    seconds = dict.fromkeys(graphs, float("inf"))
    for _ in range(REPEATS):
        for name, graph in graphs.items():
            seconds[name] = min(seconds[name], run(graph, iterations)[WALL.name])
    return seconds


def sentence(found: int | None, cores: int) -> str:
    """Return what a page says of a break-even: milliseconds, None if there is none."""
    where = f"a superstep of {NODES} nodes that compute in Python"
    if found is None:
        return f"On {cores} cores, {where} is not faster than in one process up to {_LONGEST}."
    return f"On {cores} cores, {where} is faster than in one process from {found} ms a node on."


_LONGEST = f"{MILLISECONDS[-1]} ms a node"


def run_all(tell: Callable[[str], object] = print) -> int | None:
    """Measure the break-even. ``tell`` is given the lines of a table."""
    tell(f"a superstep of {NODES} nodes that compute in Python, least of {REPEATS} runs, ms")
    tell(f"{'node':>6} {'LangGraph':>10} {'distgraph':>10} {'ratio':>6}")
    ratios = []
    for milliseconds in MILLISECONDS:
        seconds = measured(milliseconds)
        ratio = seconds[OURS] / seconds[LANGGRAPH]
        ratios.append((milliseconds, ratio))
        theirs, ours = seconds[LANGGRAPH] * 1e3, seconds[OURS] * 1e3
        tell(f"{milliseconds:>6} {theirs:>10.1f} {ours:>10.1f} {ratio:>5.2f}×")
    return break_even(ratios)


def main() -> None:
    """Print the table, and what it means."""
    print(sentence(run_all(), machine.cores()))


if __name__ == "__main__":
    main()
