"""Runs a graph several times on one saved thread, and compares two engines turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from tests.support.differential import Build, Differ, Face, Outcome, assert_same, comparable, run
from tests.support.engines import Engine
from tests.support.normalise import Item, Normaliser, items, per_task, task_of

MakeSaver = Callable[[], AbstractContextManager[Any]]

EVERY_MODE = ["values", "updates", "custom", "tasks", "checkpoints", "debug"]


def in_memory() -> AbstractContextManager[Any]:
    """Return a saver in memory, as a context."""
    return nullcontext(InMemorySaver())


def take_turns(
    engine: Engine,
    build: Build,
    turns: Sequence[Any],
    face: Face,
    *,
    saver: MakeSaver = in_memory,
    compile: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[list[Outcome], Any]:
    """Stream one run after the other on one thread.

    Each turn is an input, or a function of the engine and the outcomes so far that makes one.
    Returns the outcomes, and the values of the thread's last checkpoint as LangGraph's saver has
    them.
    """
    config = {"configurable": {"thread_id": "t"}}
    outcomes: list[Outcome] = []
    with saver() as kept:
        graph = engine.compile(build(engine), checkpointer=kept, **(compile or {}))
        for turn in turns:
            value = turn(engine, outcomes) if callable(turn) else turn
            outcomes.append(run(graph, value, face, config=config, **options))
        history = list(kept.list(config))
    return outcomes, history


def compare_turns(
    differ: Differ,
    build: Build,
    turns: Sequence[Any],
    *,
    faces: tuple[Face, ...] = ("sync", "async"),
    parallel: bool = False,
    **options: Any,
) -> list[Outcome]:
    """Compare the streams of every turn, and what is saved at the end.

    Returns the contender's outcomes of the last face.
    """
    outcomes: list[Outcome] = []
    options.setdefault("stream_mode", EVERY_MODE)
    shape = {key: options[key] for key in ("stream_mode", "subgraphs", "version") if key in options}
    for face in comparable(faces):
        expected, kept_there = take_turns(differ.reference, build, turns, face, **options)
        outcomes, kept = take_turns(differ.contender, build, turns, face, **options)
        ours, theirs = Normaliser(), Normaliser()
        for number, (got, want) in enumerate(zip(outcomes, expected, strict=True), 1):
            if want.error is None and got.error is not None:
                raise got.error
            where = f"turn {number} of the {face} face"
            assert_same(f"errors of {where}", got.plain_error(), want.plain_error())
            if parallel:
                one, other = (per_task(items(o.chunks, **shape), by_question) for o in (got, want))
            else:
                one, other = [ours(c) for c in got.chunks], [theirs(c) for c in want.chunks]
            assert_same(f"chunks of {where}", one, other)
        assert_same(f"checkpoints of the {face} face", saved(kept), saved(kept_there))
    return outcomes


def by_question(item: Item) -> Hashable:
    """Name the task of a chunk as ``task_of`` does; that of a question by what is asked."""
    payload = item.payload
    if item.mode in ("values", "updates") and isinstance(payload, dict):
        asked = payload.get("__interrupt__")
        if asked:
            return ("asked", *(question.value for question in asked))
    return task_of(item)


def saved(history: Sequence[Any]) -> list[Any]:
    """Return what a saver holds of a thread, newest first, in a form that can be compared."""
    norm = Normaliser()
    return [
        norm(
            {
                "ns": found.config["configurable"]["checkpoint_ns"],
                "values": {
                    key: value
                    for key, value in found.checkpoint["channel_values"].items()
                    if ":" not in key
                },
                "versions": sorted(found.checkpoint["channel_versions"]),
                "seen": {
                    node: sorted(seen) for node, seen in found.checkpoint["versions_seen"].items()
                },
                "updated": found.checkpoint.get("updated_channels"),
                "metadata": dict(found.metadata),
                "writes": sorted((c, repr(norm(v))) for _, c, v in found.pending_writes or ()),
            }
        )
        for found in history
    ]
