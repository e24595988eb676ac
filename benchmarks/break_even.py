"""From which duration of a node on Ray is faster than LangGraph in one process.

``python -m benchmarks.break_even`` runs supersteps of parallel nodes that compute in Python, with
longer and longer nodes, by both libraries in turn. What a superstep on Ray costs more than its
share of the cores is measured on this machine; from it follows the duration for other numbers of
cores.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import machine, one_table, pages
from benchmarks.cpu import NODES, WALL, calibrated, graph_of, run
from benchmarks.engines import engines
from benchmarks.harness import LANGGRAPH, OURS

MILLISECONDS: Mapping[int, Sequence[int]] = {NODES: (1, 2, 4, 8, 16, 32), 64: (1, 2, 4)}
"""Nodes of a superstep → how long each of them computes."""
SHORT = 8
"""Milliseconds of a node up to which the cost counts: there it decides."""
CORES = (2, 4, 8, 16)
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


def turns_of(nodes: int, cores: int) -> int:
    """Return how many nodes of a superstep a core computes one after the other, at most."""
    return -(-nodes // cores)


def cost(ours: float, theirs: float, nodes: int, cores: int) -> float:
    """Return what a superstep on Ray takes beyond the part of LangGraph's time of each core."""
    return ours - theirs * turns_of(nodes, cores) / nodes


def faster_from(cost: float, nodes: int, cores: int) -> float | None:
    """Return the duration of a node from which on a superstep is faster than in one process.

    There it takes all durations one after the other; on Ray those of one core, and the cost. None:
    with one core, or with one node, it never is.
    """
    saved = nodes - turns_of(nodes, cores)
    return max(0.0, cost / saved) if saved else None


def measured(milliseconds: int, nodes: int = NODES) -> dict[str, float]:
    """Return the least seconds of one superstep by each library."""
    iterations = calibrated(milliseconds)
    graphs = {engine.name: graph_of(engine, nodes) for engine in engines()}
    for graph in graphs.values():
        run(graph, calibrated(20), nodes)  # long enough for every worker to load the graph
    seconds = dict.fromkeys(graphs, float("inf"))
    for _ in range(REPEATS):
        for name, graph in graphs.items():
            seconds[name] = min(seconds[name], run(graph, iterations, nodes)[WALL.name])
    return seconds


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured here."""

    at: int | None
    """Milliseconds of each of ``NODES`` nodes from which on Ray is faster; None if it never is."""
    costs: Mapping[int, float]
    """Nodes of a superstep → milliseconds that it costs more on Ray."""


def sentence(found: int | None, cores: int) -> str:
    """Return what a page says of a break-even: milliseconds, None if there is none."""
    where = f"a superstep of {NODES} nodes that compute in Python"
    if found is None:
        return f"On {cores} cores, {where} is not faster than in one process up to {_LONGEST}."
    return f"On {cores} cores, {where} is faster than in one process from {found} ms a node on."


_LONGEST = f"{MILLISECONDS[NODES][-1]} ms a node"


def as_markdown(found: Found, cores: int) -> str:
    """Return the sentence, and the table for other numbers of cores."""
    from benchmarks.report import number, table

    rows = []
    for nodes, more in found.costs.items():
        durations = [faster_from(more, nodes, count) for count in CORES]
        cells = ["never" if d is None else f"{number(d)} ms" if d else "any" for d in durations]
        rows.append([str(nodes), f"{number(more)} ms", *cells])
    heads = ["nodes", "costs more on Ray", *(f"from, on {count} cores" for count in CORES)]
    return "\n".join([sentence(found.at, cores), "", *table(heads, rows)])


def run_all(tell: Callable[[str], object] = print) -> Found:
    """Measure the break-even and the cost. ``tell`` is given the lines of a table."""
    cores, ratios, costs = machine.cores(), [], dict[int, float]()
    for nodes, durations in MILLISECONDS.items():
        tell(f"a superstep of {nodes} nodes that compute in Python, least of {REPEATS} runs, ms")
        tell(f"{'node':>6} {'LangGraph':>10} {'distgraph':>10} {'ratio':>6} {'cost':>6}")
        more = []
        for milliseconds in durations:
            seconds = measured(milliseconds, nodes)
            theirs, ours = seconds[LANGGRAPH] * 1e3, seconds[OURS] * 1e3
            extra = cost(ours, theirs, nodes, cores)
            if milliseconds <= SHORT:
                more.append(extra)
            if nodes == NODES:
                ratios.append((milliseconds, ours / theirs))
            tell(
                f"{milliseconds:>6} {theirs:>10.1f} {ours:>10.1f} {ours / theirs:>5.2f}× "
                f"{extra:>6.2f}"
            )
        costs[nodes] = statistics.median(more)
    return Found(break_even(ratios), costs)


def main() -> None:
    """Print the tables, and what they mean."""
    given = one_table.parser("break_even", __doc__, None).parse_args()
    text = as_markdown(run_all(), machine.cores())
    one_table.publish(text, pages.LIMITS, "break-even", write=given.write_docs)


if __name__ == "__main__":
    main()
