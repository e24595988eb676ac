"""Comparison of tools and agents with those of the reference."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from tests.support.differential import Differ, Outcome, assert_same, comparable, run
from tests.support.engines import Engine
from tests.support.normalise import Normaliser, normalise

LANGGRAPH = Engine("langgraph")
OURS = Engine("local")


def prebuilt(ns: Engine) -> Any:
    """Return an engine's ``prebuilt`` module."""
    return ns.module("prebuilt")


def asks(*calls: tuple[str, dict[str, Any]], id: str = "ai") -> AIMessage:
    """Return a model's message with these tool calls; their ids are "0", "1", …"""
    told = [
        {"name": name, "args": args, "id": str(i), "type": "tool_call"}
        for i, (name, args) in enumerate(calls)
    ]
    return AIMessage(content="", tool_calls=told, id=id)


def without_ids(value: Any) -> Any:
    """Drop the ids of tools' answers: the reducer gives them in place, when is a race upstream."""
    if isinstance(value, ToolMessage):
        return value.model_copy(update={"id": None})
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(without_ids(item) for item in value)
    return value


class Agent:
    """Stands for a builder where an agent comes compiled."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def compile(self, **options: Any) -> Any:
        return self.make(**options)


def react(ns: Engine, *args: Any, **kwargs: Any) -> Agent:
    """Return ``create_react_agent`` of an engine, to be compiled by it."""
    return Agent(lambda **more: prebuilt(ns).create_react_agent(*args, **kwargs, **more))


def same_stream(
    differ: Differ,
    build: Callable[[Engine], Any],
    input: Any,
    *,
    faces: tuple[str, ...] = ("sync", "async"),
    reference_face: str | None = None,
    parallel: bool = False,
    **options: Any,
) -> Outcome:
    """Assert that both engines stream the same chunks.

    Args:
        reference_face: The reference's face where it lacks the other.
        parallel: The order of chunks is free: tasks of one step run at once.

    Returns: the contender's last outcome.
    """
    outcome = Outcome()
    for face in comparable(faces, reference_face):
        sides = []
        for engine in (differ.reference, differ.contender):
            own_face = (engine.is_reference and reference_face) or face
            given = input(engine) if callable(input) else copy.deepcopy(input)
            done = run(engine.compile(build(engine)), given, own_face, **copy.deepcopy(options))
            sides.append(done)
        expected, outcome = sides
        if expected.error is None and outcome.error is not None:
            raise outcome.error
        assert_same("errors", outcome.plain_error(), expected.plain_error())
        got, want = (_plain(side.chunks, parallel) for side in (outcome, expected))
        assert_same(f"chunks of the {face} face", got, want)
    return outcome


def _plain(chunks: list[Any], parallel: bool) -> list[Any]:
    chunks = without_ids(chunks)
    if parallel:
        return sorted((Normaliser()(chunk) for chunk in chunks), key=repr)
    return normalise(chunks)


def called(ns: Engine, node: Any, input: Any, face: str, config: Any = None) -> Any:
    """Run a tool node outside of a graph. Returns what it returned or raised, as plain data."""
    config = copy.deepcopy(config or {})
    given = input(ns) if callable(input) else copy.deepcopy(input)
    # the reference works only with what a graph would have put there
    config.setdefault("configurable", {}).setdefault("__pregel_runtime", ns.Runtime())
    try:
        if face == "async":
            result = asyncio.run(node.ainvoke(given, config))
        else:
            result = node.invoke(given, config)
    except Exception as error:
        return Normaliser().error(error)
    return Normaliser()(without_ids(result))
