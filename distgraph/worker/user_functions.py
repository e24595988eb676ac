"""Wrappers of the user's nodes and paths with one signature: ``bound(input, context)``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Protocol

from distgraph._internal.loaded import loaded
from distgraph.errors import InvalidUpdateError, MissingExtraError
from distgraph.worker.chunk_sums import sum_of, sum_of_async
from distgraph.worker.pooled import Pooled
from distgraph.worker.runnable_forms import async_only, has_async_form
from distgraph.worker.sequences import ainvoke_steps, invoke_steps

__all__ = (
    "FunctionNode",
    "NodeContext",
    "RunnableNode",
    "bind",
    "count_as_theirs",
    "is_runnable",
    "user_function",
)

INJECTED = ("config", "writer", "store", "runtime", "previous", "error")
"""Parameter names that receive a part of the context."""

_REMOTE = ("RemoteFunction", "ActorClass", "ActorHandle")
"""What ``ray.remote`` makes; the library does not import Ray."""

_FINAL = frozenset({dict, list, tuple, str, int, bool, type(None)})
"""Types of results that nothing is done with: they are neither coroutines nor Runnables."""

_EXPECTED = {
    "config": ("RunnableConfig",),
    "writer": ("StreamWriter", "Callable"),
    "store": ("Store",),
}


class NodeContext(Protocol):
    """The part of an attempt's context that the user's function can receive."""

    config: Mapping[str, Any]
    writer: Callable[[Any], None]
    store: Any
    runtime: Any
    previous: Any


def is_runnable(value: Any) -> bool:
    """Return whether a value is a LangChain ``Runnable``; never imports LangChain."""
    runnable = loaded("langchain_core.runnables.base", "Runnable")
    return runnable is not None and isinstance(value, runnable)


_THEIRS = (("langchain_core.runnables.base", "Runnable"), ("langgraph.pregel", "Pregel"))


def count_as_theirs(cls: type) -> None:
    """Register a graph's class as ``Runnable`` and as LangGraph's ``Pregel``, if these are loaded.

    ``isinstance`` then takes its objects for them.
    """
    for home, name in _THEIRS:
        base = loaded(home, name)
        if base is not None and not issubclass(cls, base):
            base.register(cls)


def user_function(action: Any) -> Callable[..., Any] | None:
    """Return the function whose signature and annotations describe a node, a path or a Runnable."""
    if is_runnable(action):
        action = getattr(action, "func", None) or getattr(action, "afunc", None)
    if inspect.isfunction(action) or inspect.ismethod(action):
        return action
    call = getattr(action, "__call__", None)  # noqa: B004
    return call if isinstance(call, MethodType) else None


def _is(predicate: Callable[[Any], bool], action: Any) -> bool:
    while isinstance(action, functools.partial):
        action = action.func
    if isinstance(action, Pooled):
        return action.is_async if predicate is inspect.iscoroutinefunction else False
    return predicate(action) or (
        not inspect.isroutine(action) and predicate(getattr(type(action), "__call__", None))  # noqa: B004
    )


def _injected(action: Any, what: str) -> tuple[str, ...]:
    """Return the parameters to inject, having checked that every other one has its argument.

    Raises:
        ValueError: A call as the engine makes it would fail; names the parameter.
    """
    try:
        signature = inspect.signature(action)
    except (TypeError, ValueError):
        return ()
    parameters = list(signature.parameters.values())
    first = next(
        (p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        None,
    )
    fixed = action.keywords if isinstance(action, functools.partial) else {}
    names = tuple(
        p.name
        for p in parameters
        if p.name in INJECTED
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name != first
        and p.name not in fixed
        and wants_injection(p)
    )
    try:
        # that of a decorator's own function: it may supply arguments that the user's function takes
        inspect.signature(action, follow_wrapped=False).bind(None, **dict.fromkeys(names))
    except TypeError as error:
        raise ValueError(
            f"{what} cannot be called with the state: {error}. It is called with one positional "
            f"argument, and parameters named {', '.join(INJECTED)} are filled in; give any other "
            "a default or bind it with functools.partial"
        ) from None
    return names


def wants_injection(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter of an injected name is meant, not one that is only called so."""
    annotation, default = parameter.annotation, parameter.default
    if parameter.name == "error":  # a name that others use
        return "NodeError" in str(annotation)
    if parameter.name not in _EXPECTED or annotation is inspect.Parameter.empty:
        return True
    if default is inspect.Parameter.empty or default is None:
        return True
    return any(word in str(annotation) for word in _EXPECTED[parameter.name])


class FunctionNode:
    """A user's function with the parts of the context that its signature names."""

    __slots__ = ("func", "generator", "is_async", "names", "what")

    def __init__(self, func: Callable[..., Any], what: str) -> None:
        self.func = func
        self.what = what
        self.names = _injected(func, what)
        self.generator = _is(inspect.isgeneratorfunction, func) or _is(
            inspect.isasyncgenfunction, func
        )
        self.is_async = _is(inspect.iscoroutinefunction, func) or _is(
            inspect.isasyncgenfunction, func
        )

    @property
    def action(self) -> Any:
        """What the user gave."""
        return self.func

    def __call__(self, input: Any, context: NodeContext) -> Any:
        value = self.func(input, **{name: getattr(context, name) for name in self.names})
        if type(value) in _FINAL and not (self.is_async or self.generator):
            return value
        if self.is_async:
            return sum_of_async(value) if self.generator else self._awaited(value, input, context)
        if self.generator:
            return sum_of(value)
        if inspect.iscoroutine(value):
            value.close()
            raise InvalidUpdateError(
                f"{self.what} is a plain function that returned a coroutine. Declare it "
                "`async def`, so that it is awaited"
            )
        return value.invoke(input, context.config) if is_runnable(value) else value

    async def _awaited(self, value: Any, input: Any, context: NodeContext) -> Any:
        value = await value
        return await value.ainvoke(input, context.config) if is_runnable(value) else value

    def __repr__(self) -> str:
        return f"FunctionNode({self.func!r})"


class RunnableNode:
    """A LangChain ``Runnable`` as a node or a path.

    Attributes:
        is_async: Whether it has no sync form.
        has_both_forms: Whether it has a sync form and an async form of its own.
    """

    __slots__ = ("has_both_forms", "is_async", "runnable")

    def __init__(self, runnable: Any) -> None:
        self.runnable = runnable
        self.is_async = async_only(runnable)
        self.has_both_forms = not self.is_async and has_async_form(runnable)

    @property
    def action(self) -> Any:
        """What the user gave."""
        return self.runnable

    def __call__(self, input: Any, context: NodeContext) -> Any:
        if self.is_async:
            return self.awaited(input, context)
        return invoke_steps(self.runnable, input, context.config)

    async def awaited(self, input: Any, context: NodeContext) -> Any:
        """Run the async form."""
        return await ainvoke_steps(self.runnable, input, context.config)

    def __repr__(self) -> str:
        return f"RunnableNode({self.runnable!r})"


def _parallel(actions: dict[str, Any], what: str) -> Any:
    try:
        from langchain_core.runnables import RunnableParallel
    except ImportError as error:
        raise MissingExtraError(
            f"{what} is a dict, which is run as LangChain's RunnableParallel and needs "
            "langchain-core: pip install 'distgraph[langchain]'"
        ) from error
    try:
        return RunnableParallel(actions)
    except TypeError as error:
        raise TypeError(
            f"{what} is a dict, which is run as LangChain's RunnableParallel: its values must be "
            "functions or Runnables. Give the function itself, not the result of its call"
        ) from error


def bind(action: Any, what: str) -> FunctionNode | RunnableNode:
    """Wrap what the user gave.

    Args:
        action: A function, a callable object, a LangChain ``Runnable``, or a dict of these, whose
            results make a dict.
        what: How errors call it, such as "Node `a`".

    Raises:
        TypeError: It cannot be called.
        ValueError: It cannot be called with one positional argument.
        MissingExtraError: It is a dict, and langchain-core is not installed.
    """
    if isinstance(action, dict):
        action = _parallel(action, what)
    if is_runnable(action):
        return RunnableNode(action)
    kind = type(action).__name__
    if kind in _REMOTE and type(action).__module__.startswith("ray."):
        raise TypeError(
            f"{what} is what @ray.remote returns ({kind}). Give the function or class itself: its "
            "calls are Ray tasks already. Ray's options go into ray_options"
        )
    if not callable(action):
        raise TypeError(
            f"{what} must be a function, a callable object, a LangChain Runnable or a compiled "
            f"graph, got {type(action).__name__}"
        )
    return FunctionNode(action, what)
