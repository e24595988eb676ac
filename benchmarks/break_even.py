"""From which duration of a node on Ray is faster than LangGraph in one process, on this machine.

``python -m benchmarks.break_even`` runs supersteps of parallel nodes that compute in Python, with
longer and longer nodes, by both libraries in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def main() -> None:
    """Print the table."""
    print(f"a superstep of {NODES} nodes that compute in Python, least of {REPEATS} runs, ms")
    print(f"{'node':>6} {'LangGraph':>10} {'distgraph':>10} {'ratio':>6}")
    ratios = []
    for milliseconds in MILLISECONDS:
        seconds = measured(milliseconds)
        ratio = seconds[OURS] / seconds[LANGGRAPH]
        ratios.append((milliseconds, ratio))
        theirs, ours = seconds[LANGGRAPH] * 1e3, seconds[OURS] * 1e3
        print(f"{milliseconds:>6} {theirs:>10.1f} {ours:>10.1f} {ratio:>5.2f}×", flush=True)
    found = break_even(ratios)
    print(
        f"no break-even up to {MILLISECONDS[-1]} ms a node"
        if found is None
        else f"break-even: {found} ms a node"
    )


if __name__ == "__main__":
    main()
