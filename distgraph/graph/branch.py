"""Conditional edges: the user's path function, and the writer that calls it next to its node."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from distgraph._internal.keys import BRANCH_TO, TASKS
from distgraph.constants import END, START
from distgraph.contract.spec import Reader, Write
from distgraph.errors import InvalidUpdateError, UnmappedPathError
from distgraph.graph.schema import SchemaMapper, has_fields
from distgraph.interop import own
from distgraph.types import Send
from distgraph.worker.forward import path_run
from distgraph.worker.user_functions import (
    FunctionNode,
    RunnableNode,
    bind,
    is_runnable,
    user_function,
)

__all__ = ("Branch", "BranchWriter", "make_branch", "path_name")


@dataclass(frozen=True)
class Branch:
    """One conditional edge as it was declared."""

    source: str
    name: str
    path: FunctionNode | RunnableNode
    ends: Mapping[Hashable, str] | None
    """The node name for each return value of the path; None: the path returns node names."""
    input_schema: Any = None
    """The schema that the path's first parameter is annotated with."""


def path_name(path: Any) -> str:
    """Return the name of a conditional edge: that of its function, else "condition"."""
    name = getattr(path, "name", None) if is_runnable(path) else getattr(path, "__name__", None)
    return "condition" if name in (None, "<lambda>") else str(name)


def make_branch(source: str, name: str, path: Any, path_map: Any) -> Branch:
    """Read the destinations and the input schema of a conditional edge off what was given.

    Raises:
        TypeError: ``path`` cannot be called, or ``path_map`` is no dict or sequence of names.
        ValueError: ``path`` cannot be called with one positional argument.
    """
    what = f"Conditional edge `{name}` of `{source}`"
    bound = bind(path, what)
    hints = _hints(path)
    ends: dict[Hashable, str] | None = None
    if isinstance(path_map, Mapping):
        ends = dict(path_map)
    elif isinstance(path_map, (list, tuple)):
        ends = {target: target for target in path_map}
    elif path_map is not None:
        raise TypeError(
            f"{what}: path_map must be a dict or a list of node names, "
            f"got {type(path_map).__name__}"
        )
    elif _is_function(path) and get_origin(returned := hints.get("return")) is Literal:
        ends = {target: target for target in get_args(returned)}
    return Branch(source, name, bound, ends, _input_schema(path, hints))


def _is_function(path: Any) -> bool:
    """Whether LangGraph reads the destinations off the path: it does not for an object."""
    if is_runnable(path):
        path = getattr(path, "func", None) or getattr(path, "afunc", None)
    return inspect.isfunction(path) or inspect.ismethod(path)


def _hints(path: Any) -> dict[str, Any]:
    function = user_function(path)
    if function is None:
        return {}
    try:
        return get_type_hints(function)
    except Exception:
        return {}


def _input_schema(path: Any, hints: Mapping[str, Any]) -> Any:
    function = user_function(path)
    if function is None or not hints:
        return None
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except (TypeError, ValueError):
        return None
    hint = hints.get(first)
    return hint if has_fields(hint) else None


@dataclass(frozen=True)
class BranchWriter:
    """Calls a conditional edge's path on the state as its node left it.

    The path's parameters are filled in from the attempt that it runs in, as a node's are.

    Attributes:
        select: State keys that the path reads; a str reads that channel's bare value.
        mapper: Builds the instance of a schema's class for the path.
        passthrough: Whether keys of the node's return value that are no state keys reach the path.
    """

    source: str
    name: str
    path: FunctionNode | RunnableNode
    ends: Mapping[Hashable, str] | None
    select: tuple[str, ...] | str
    mapper: SchemaMapper | None = None
    passthrough: bool = False

    @property
    def is_async(self) -> bool:
        """Whether ``acall`` must be awaited in place of a call."""
        return self.path.is_async

    @property
    def has_both_forms(self) -> bool:
        """Whether the path has a sync and an async form."""
        return isinstance(self.path, RunnableNode) and self.path.has_both_forms

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """Return the writes.

        Raises:
            UnmappedPathError: The path returned what is not in ``path_map``.
            ValueError: The path returned no valid destination.
            InvalidUpdateError: It returned a ``Send`` to the end.
        """
        state = self._input(value, read)
        with path_run(self._callback_config(context), self._run_name, state) as report:
            if isinstance(self.path, RunnableNode):
                result = self.path.runnable.invoke(state, context.config)
            else:
                result = self.path(state, context)
            if report is not None:
                report(result)
        return self._writes(result)

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        state = self._input(value, read)
        with path_run(self._callback_config(context), self._run_name, state) as report:
            if isinstance(self.path, RunnableNode):
                result = await self.path.runnable.ainvoke(state, context.config)
            else:
                result = self.path(state, context)
                result = await result if self.is_async else result
            if report is not None:
                report(result)
        return self._writes(result)

    def _callback_config(self, context: Any) -> dict[str, Any]:
        """Return the config whose callbacks receive the run; a ``Runnable`` calls them itself."""
        return {} if isinstance(self.path, RunnableNode) else getattr(context, "config", {})

    def _run_name(self) -> str:
        """Name of the path's run, as LangGraph has it."""
        name = getattr(user_function(getattr(self.path, "func", None)), "__name__", "<lambda>")
        return "RunnableCallable" if name == "<lambda>" else str(name)

    def _input(self, value: Any, read: Reader) -> Any:
        state = read(self.select if isinstance(self.select, str) else list(self.select))
        if self.mapper is not None:
            return self.mapper(state)
        if self.passthrough and isinstance(state, dict) and isinstance(value, dict):
            return {**value, **state}
        return state

    def _writes(self, result: Any) -> Sequence[Write]:
        results = result if isinstance(result, (list, tuple)) else (result,)
        writes: list[Write] = []
        for item in results:
            target = self._target(own(item))
            if isinstance(target, Send):
                writes.append((TASKS, target))
            elif target != END:
                writes.append((BRANCH_TO.format(target), None))
        return writes

    def _target(self, item: Any) -> Any:
        if isinstance(item, Send):
            if item.node == END:
                raise InvalidUpdateError(
                    f"{self._what} returned {item!r}: Cannot send a packet to the END node"
                )
            return item
        target = item
        if self.ends is not None:
            try:
                target = self.ends[item]
            except (KeyError, TypeError):
                raise UnmappedPathError(
                    f"{self._what} did not return a valid destination: {item!r} is not one of "
                    f"{', '.join(map(repr, self.ends))}. Add it to path_map or return one of these"
                ) from None
        if not isinstance(target, str) or target == START:
            raise ValueError(
                f"{self._what} did not return a valid destination: got {item!r}. Return node "
                "names, END, Sends, or a list of these"
            )
        return target

    @property
    def _what(self) -> str:
        return f"Branch `{self.name}` of node `{self.source}`"
