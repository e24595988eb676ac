"""What holds for a machine after every event. Checked in tests; costs a pass over all tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from distgraph.engine.attempts import RunningAttempt
from distgraph.engine.graph_run import GraphRun, Phase

__all__ = ("broken",)


def broken(
    graphs: Sequence[GraphRun], attempts: Sequence[RunningAttempt], waiting: Sequence[GraphRun]
) -> str | None:
    """Return a description of the first invariant that does not hold, None if all of them do.

    Args:
        graphs: Graphs of the run that have not ended; none once the run has.
        attempts: Attempts on workers.
        waiting: Graphs that wait for a reply of the saver, a cache or the clock.
    """
    return next(_broken(graphs, attempts, waiting), None)


def _broken(
    graphs: Sequence[GraphRun], attempts: Sequence[RunningAttempt], waiting: Sequence[GraphRun]
) -> Iterator[str]:
    live = set(map(id, graphs))
    for attempt in attempts:
        name, request = attempt.task.name, attempt.start.request
        if id(attempt.graph) not in live:
            yield f"an attempt of {name!r} runs in a graph that has ended"
        if attempt.graph.superstep.tasks.get(attempt.task.id) is not attempt.task:
            yield f"an attempt of {name!r} runs for a task that is not of the superstep"
        if attempt.task.status != "running":
            yield f"an attempt of {name!r} runs, and its task is {attempt.task.status}"
        if request.step != attempt.graph.superstep.step:
            yield f"an attempt of {name!r} runs for superstep {request.step}"
    # a graph goes on by one of these; without them the run would hang
    moving = {id(attempt.graph) for attempt in attempts} | {id(graph) for graph in waiting}
    moving |= {id(graph.parent[0]) for graph in graphs if graph.parent is not None}
    for graph in graphs:
        name = graph.superstep.spec.name
        if graph.ended:
            yield f"graph {name!r} has ended, and is listed as open"
        if id(graph) not in moving:
            yield f"graph {name!r} is {graph.phase.value}, and waits for nobody"
        running = sum(task.status == "running" for task in graph.superstep.tasks.values())
        if graph.phase is Phase.RUNNING and graph.open != running:
            yield f"graph {name!r} counts {graph.open} open tasks, and {running} run"
        if graph.phase is Phase.RUNNING and not running:
            yield f"graph {name!r} has no running task, and does not end its superstep"
        if graph.parent is not None:
            around, task = graph.parent
            if id(around) not in live or task.status != "running":
                yield f"graph {name!r} outlives the task {task.name!r} around it"
