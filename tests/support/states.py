"""Plays a story on a saved thread, on two engines by both faces, and compares all that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.support.differential import Build, Differ, Face, assert_same, comparable
from tests.support.engines import Engine
from tests.support.normalise import Normaliser
from tests.support.threads import MakeSaver, in_memory

CONFIG = {"configurable": {"thread_id": "t"}}


class Teller:
    """A graph and its thread. Each method notes what came of the call, and returns it.

    An error is noted, and returned in place of a result.
    """

    def __init__(self, engine: Engine, graph: Any, face: Face) -> None:
        self.engine = engine
        self.graph = graph
        self.face = face
        self.log: list[tuple[str, Any]] = []

    def invoke(self, input: Any, config: Any = CONFIG, **options: Any) -> Any:
        graph = self.graph
        return self._note(
            "invoke",
            lambda: graph.invoke(input, config, **options),
            lambda: graph.ainvoke(input, config, **options),
        )

    def state(self, config: Any = CONFIG, **options: Any) -> Any:
        graph = self.graph
        return self._note(
            "state",
            lambda: graph.get_state(config, **options),
            lambda: graph.aget_state(config, **options),
        )

    def history(self, config: Any = CONFIG, **options: Any) -> Any:
        graph = self.graph

        async def collect() -> list[Any]:
            return [state async for state in graph.aget_state_history(config, **options)]

        return self._note(
            "history", lambda: list(graph.get_state_history(config, **options)), collect
        )

    def update(self, values: Any, config: Any = CONFIG, **options: Any) -> Any:
        graph = self.graph
        return self._note(
            "update",
            lambda: graph.update_state(config, values, **options),
            lambda: graph.aupdate_state(config, values, **options),
        )

    def bulk(self, supersteps: Sequence[Any], config: Any = CONFIG) -> Any:
        graph = self.graph
        return self._note(
            "bulk",
            lambda: graph.bulk_update_state(config, supersteps),
            lambda: graph.abulk_update_state(config, supersteps),
        )

    def _note(
        self, name: str, call: Callable[[], Any], acall: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        try:
            result = asyncio.run(acall()) if self.face == "async" else call()
        except Exception as error:
            result = error
        noted = result
        if isinstance(result, dict) and "__interrupt__" in result:  # in the order of time
            asked = sorted(result["__interrupt__"], key=lambda question: repr(question.value))
            noted = {**result, "__interrupt__": asked}
        self.log.append((name, noted))
        return result


def _public(value: Any) -> Any:
    """Leave out of configs what LangGraph lends to the graphs inside of a graph."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not str(k).startswith("__pregel_")}
        return {key: _public(v) for key, v in kept.items()}
    return [_public(v) for v in value] if isinstance(value, list) else value


Story = Callable[[Teller], Any]


def tell(
    engine: Engine, build: Build, story: Story, face: Face, saver: MakeSaver = in_memory
) -> Teller:
    """Play a story on a graph with a saver of its own."""
    with saver() as kept:
        teller = Teller(engine, engine.compile(build(engine), checkpointer=kept), face)
        story(teller)
    return teller


def compare_story(
    differ: Differ,
    build: Build,
    story: Story,
    *,
    faces: tuple[Face, ...] = ("sync", "async"),
    fails: bool = False,
    saver: MakeSaver = in_memory,
) -> Teller:
    """Compare all that a story's calls came to, ids and times aside.

    Args:
        differ: The two engines.
        build: Makes the graph.
        story: Plays it.
        faces: By which of the two faces.
        fails: Whether a call of the story is to end in an error.
        saver: Makes the saver of an engine and a face.

    Returns: the contender's side of the last face.
    """
    told: Teller | None = None
    for face in comparable(faces):
        expected = tell(differ.reference, build, story, face, saver)
        told = tell(differ.contender, build, story, face, saver)
        ours, theirs = Normaliser(), Normaliser()
        for number, (got, want) in enumerate(zip(told.log, expected.log, strict=True), 1):
            if isinstance(got[1], Exception) and not isinstance(want[1], Exception):
                raise got[1]
            assert not isinstance(want[1], Exception) or fails, want[1]
            where = f"call {number} ({want[0]}) of the {face} face"
            assert_same(where, _public(ours(got[1])), _public(theirs(want[1])))
    assert told is not None
    return told
