"""Runs one graph on the reference and on another engine, and compares what they stream."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.engines import REFERENCE_AWAITS, Engine
from tests.support.normalise import Key, Normaliser, items, normalise, per_task, task_of

Build = Callable[[Engine], Any]
Face = str  # "sync" or "async"


@dataclass
class Outcome:
    """What a run streamed, and the error that ended it."""

    chunks: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    def plain_error(self) -> Any:
        return None if self.error is None else Normaliser().error(self.error)


def run(graph: Any, input: Any, face: Face = "sync", **options: Any) -> Outcome:
    """Stream a run to its end by one of the two faces; an error becomes part of the outcome."""
    outcome = Outcome()

    async def drain() -> None:
        async for chunk in graph.astream(input, **options):
            outcome.chunks.append(chunk)

    try:
        if face == "async":
            asyncio.run(drain())
        else:
            for chunk in graph.stream(input, **options):
                outcome.chunks.append(chunk)
    except Exception as error:
        outcome.error = error
    return outcome


def difference(got: Any, expected: Any, path: str = "") -> str | None:
    """Describe the first place where two plain values part; None where they are equal."""
    if got == expected:
        return None
    if type(got) is type(expected) and isinstance(got, (list, tuple)):
        for i, (a, b) in enumerate(zip(got, expected, strict=False)):
            if (found := difference(a, b, f"{path}[{i}]")) is not None:
                return found
        return f"{path} has {len(got)} items, expected {len(expected)}: {got!r} / {expected!r}"
    if isinstance(got, dict) and isinstance(expected, dict):
        if missing := [k for k in expected if k not in got]:
            return f"{path} lacks {missing}: {got!r} / {expected!r}"
        if extra := [k for k in got if k not in expected]:
            return f"{path} has {extra} besides: {got!r} / {expected!r}"
        for key in expected:
            if (found := difference(got[key], expected[key], f"{path}[{key!r}]")) is not None:
                return found
    return f"{path} is {got!r}, expected {expected!r}"


def assert_same(what: str, got: Any, expected: Any) -> None:
    """Compare two plain values.

    Raises: AssertionError that shows the first place where they part.
    """
    found = difference(got, expected)
    if found is not None:
        raise AssertionError(f"{what}: {found}")


def comparable(faces: tuple[Face, ...], reference_face: Face | None = None) -> tuple[Face, ...]:
    """Return the faces that the reference can be compared by; skips the test if there is none."""
    found = tuple(face for face in faces if REFERENCE_AWAITS or (reference_face or face) == "sync")
    if not found:
        pytest.skip("on this Python the reference's async nodes lack their context")
    return found


@dataclass
class Differ:
    """Asserts that ``contender`` streams what ``reference`` streams."""

    reference: Engine
    contender: Engine

    def stream(
        self,
        build: Build,
        input: Any,
        *,
        faces: tuple[Face, ...] = ("sync", "async"),
        reference_face: Face | None = None,
        parallel: bool = False,
        key: Key = task_of,
        compile: dict[str, Any] | None = None,
        **options: Any,
    ) -> Outcome:
        """Compare the streams of the graph that ``build`` returns the builder of.

        Args:
            input: The run's input, or a function of the engine that makes it.
            faces: ``stream``, ``astream`` or both.
            reference_face: The reference's face where it lacks the other (async nodes).
            parallel: Compare per task and step (see ``per_task``) rather than chunk by chunk.
            key: Names a chunk's task, for ``parallel``.
            compile: Further arguments of ``compile``.
            options: Arguments of ``stream``.

        Returns: the contender's last outcome, its chunks as they came.
        """
        outcome = Outcome()
        for face in self._faces(faces, reference_face):
            expected = self._run(
                self.reference, build, input, reference_face or face, compile, options
            )
            outcome = self._run(self.contender, build, input, face, compile, options)
            if expected.error is None and outcome.error is not None:
                raise outcome.error
            assert_same("errors", outcome.plain_error(), expected.plain_error())
            shape = {
                "stream_mode": options.get("stream_mode", "updates"),
                "subgraphs": options.get("subgraphs", False),
                "version": options.get("version", "v1"),
            }
            if parallel:
                got, want = (per_task(items(o.chunks, **shape), key) for o in (outcome, expected))
            else:
                got, want = normalise(outcome.chunks), normalise(expected.chunks)
            assert_same(f"chunks of the {face} face", got, want)
        return outcome

    def invoke(
        self,
        build: Build,
        input: Any,
        *,
        faces: tuple[Face, ...] = ("sync", "async"),
        reference_face: Face | None = None,
        compile: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Compare the results (or the errors) of ``invoke`` and ``ainvoke``.

        Returns: the contender's result as it came; None after an error.
        """
        result = None
        for face in self._faces(faces, reference_face):
            expected, failure = self._invoke(
                self.reference, build, input, reference_face or face, compile, options
            )
            result, error = self._invoke(self.contender, build, input, face, compile, options)
            if failure is None and error is not None:
                raise error
            got, want = (e and Normaliser().error(e) for e in (error, failure))
            assert_same("errors", got, want)
            assert_same(f"results of the {face} face", normalise([result]), normalise([expected]))
        return result

    def _faces(self, faces: tuple[Face, ...], reference_face: Face | None) -> tuple[Face, ...]:
        # the reference, compared with itself, has no more faces than it has
        if self.contender.is_reference and reference_face is not None:
            faces = (reference_face,)
        return comparable(faces, reference_face)

    def _run(
        self, engine: Engine, build: Build, input: Any, face: Face, compile: Any, options: Any
    ) -> Outcome:
        graph = engine.compile(build(engine), **(compile or {}))
        given = input(engine) if callable(input) else copy.deepcopy(input)
        return run(graph, given, face, **copy.deepcopy(options))

    def _invoke(
        self, engine: Engine, build: Build, input: Any, face: Face, compile: Any, options: Any
    ) -> tuple[Any, Exception | None]:
        graph = engine.compile(build(engine), **(compile or {}))
        given = input(engine) if callable(input) else copy.deepcopy(input)
        options = copy.deepcopy(options)
        try:
            if face == "async":
                return asyncio.run(graph.ainvoke(given, **options)), None
            return graph.invoke(given, **options), None
        except Exception as error:
            return None, error
