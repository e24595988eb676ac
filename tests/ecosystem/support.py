"""Compares what an agent of some package streams from LangGraph and from ``distribute``."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from distgraph import distribute
from tests.support.differential import assert_same
from tests.support.normalise import Item, Normaliser, items, normalise, per_task

MODES = ["values", "updates", "messages", "custom"]
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "1"}}


def conversation_is_the_same(
    backend: str,
    build: Callable[[], Any],
    *inputs: Any,
    faces: Sequence[str] = ("sync", "async"),
    modes: Sequence[str] = MODES,
    key: Callable[[Item], Hashable] | None = None,
    subgraphs: bool = True,
    unordered: bool = False,
    **options: Any,
) -> list[list[Item]]:
    """Assert that a conversation streams the same, chunk by chunk, and ends in the same state.

    Args:
        backend: Runs the graph beside LangGraph.
        build: Returns a compiled graph of LangGraph, another one at each call.
        inputs: Of the runs, one after the other, on one thread.
        faces: Of ``stream`` ("sync") and ``astream`` ("async"), those to compare.
        modes: Stream modes, all at once.
        key: Names the task of a chunk where tasks run in parallel: their order is free.
        subgraphs: Whether chunks of subgraphs are streamed.
        unordered: Compare the chunks of a run as a set, for tasks in parallel at several levels.
        options: Further ones of ``stream``.

    Returns: the chunks of the last face by distgraph, a list for each run.
    """
    streamed: list[list[Item]] = []
    for face in faces:
        outcomes = []
        for graph in (build(), distribute(build(), backend=backend)):
            outcomes.append(
                _converse(graph, inputs, face, list(modes), subgraphs=subgraphs, **options)
            )
        (expected, final), (streamed, ours) = outcomes
        for number, (wanted, got) in enumerate(zip(expected, streamed, strict=True)):
            what = f"{face}, run {number}"
            if unordered:
                assert_same(what, _bag(got), _bag(wanted))
            elif key is not None:
                assert_same(what, per_task(got, key), per_task(wanted, key))
            else:
                assert_same(what, normalise(got), normalise(wanted))
        assert_same(f"{face}, the final state", ours, final)
    return streamed


def _bag(chunks: list[Item]) -> list[str]:
    return sorted(repr(Normaliser()(chunk)) for chunk in chunks)


def _converse(
    graph: Any, inputs: Sequence[Any], face: str, modes: list[str], **options: Any
) -> tuple[list[list[Item]], Any]:
    options = {"stream_mode": modes, "subgraphs": True, **options}
    given = options.pop("config", CONFIG)

    async def talk() -> list[list[Any]]:
        runs = []
        for input in inputs:
            stream = graph.astream(copy.deepcopy(input), given, **options)
            runs.append([chunk async for chunk in stream])
        return runs

    if face == "async":
        runs = asyncio.run(talk())
    else:
        runs = [list(graph.stream(copy.deepcopy(input), given, **options)) for input in inputs]
    found = [items(chunks, stream_mode=modes, subgraphs=options["subgraphs"]) for chunks in runs]
    final = None
    if graph.checkpointer:
        state = graph.get_state(given)
        final = Normaliser()([state.values, state.next, [i.value for i in state.interrupts]])
    return found, final
