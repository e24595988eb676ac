"""Injected tool parameters: the parameters that the run fills in, and their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool
from langchain_core.tools.base import _is_injected_arg_type, get_all_basemodel_annotations

from distgraph.prebuilt.markers import ToolRuntime

__all__ = ("Injected", "inject", "injected_args")

_HOMES = ("distgraph.prebuilt.markers", "langgraph.prebuilt.tool_node")
"""Modules of the annotations: LangGraph's work like distgraph's."""


@dataclass(frozen=True)
class Injected:
    """Parameters of one tool that the model does not fill."""

    state: Mapping[str, str | None] = field(default_factory=dict)
    """Parameters that receive a key of the state, or the whole of it (None)."""
    optional: frozenset[str] = frozenset()
    """Parameters in ``state`` that have a default value."""
    store: str | None = None
    runtime: str | None = None
    runtime_class: Any = ToolRuntime
    hidden: frozenset[str] = frozenset()
    """All parameters that the model must not fill in."""

    @property
    def reads_state(self) -> bool:
        """Whether a call reads the state."""
        return bool(self.state) or self.runtime is not None

    @property
    def names(self) -> frozenset[str]:
        """Parameters that the run fills."""
        others = (name for name in (self.store, self.runtime) if name is not None)
        return frozenset((*self.state, *others))


def _marks(annotation: Any, name: str) -> bool:
    """Return whether an annotation is, or holds, the marker of that name."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        return any(_marks(arg, name) for arg in get_args(annotation))
    cls = origin if origin is not None else annotation
    if not isinstance(cls, type):
        cls = type(cls)
    return any(c.__name__ == name and c.__module__ in _HOMES for c in cls.__mro__)


def _marker(annotation: Any, name: str) -> Any:
    """Return the marker of that name in an annotation, None without one.

    Raises:
        ValueError: There are several.
    """
    found = [arg for arg in get_args(annotation) if _marks(arg, name)]
    if len(found) > 1:
        raise ValueError(
            f"A tool argument should not be annotated with {name} more than once. Found: {found}"
        )
    if found:
        return found[0]
    return annotation if _marks(annotation, name) else None


def _classes(annotation: Any) -> Iterator[type]:
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        for arg in get_args(annotation):
            yield from _classes(arg)
    elif isinstance(cls := origin or annotation, type):
        yield cls


def injected_args(tool: BaseTool) -> Injected:
    """Read the parameters to fill in off a tool's schema and its function.

    Raises:
        ValueError: One of them is annotated twice.
        NameError: The function's annotations cannot be evaluated.
    """
    schema: Any = tool.get_input_schema()
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    hints = get_type_hints(function, include_extras=True) if function else {}
    annotations = {**hints, **get_all_basemodel_annotations(schema)}
    state: dict[str, str | None] = {}
    optional: set[str] = set()
    store = runtime = None
    runtime_class: Any = ToolRuntime
    hidden = set()
    for name, annotation in annotations.items():
        if _is_injected_arg_type(annotation):
            hidden.add(name)
        if (marker := _marker(annotation, "InjectedState")) is not None:
            state[name] = getattr(marker, "field", None) or None
            known = schema.model_fields.get(name)
            if state[name] and known is not None and not known.is_required():
                optional.add(name)
        if _marks(annotation, "InjectedStore"):
            store = name
        # a schema of its own has what the model fills in, and may leave the runtime's class out
        of_function = hints.get(name, annotation)
        runtimes = (a for a in (annotation, of_function) if _marks(a, "ToolRuntime"))
        if (marked := next(runtimes, None)) is not None:
            runtime = name
            runtime_class = next(c for c in _classes(marked) if _marks(c, "ToolRuntime"))
        elif name == "runtime":  # whatever its type, as in LangGraph
            runtime = name
    return Injected(state, frozenset(optional), store, runtime, runtime_class, frozenset(hidden))


def inject(
    call: Mapping[str, Any], injected: Injected, runtime: ToolRuntime[Any, Any], messages_key: str
) -> dict[str, Any]:
    """Return the call with all injected arguments; values of the model for these are removed.

    Raises:
        ValueError: The tool requires a state or a store, and none is available.
        KeyError, AttributeError: The state lacks a key that the tool requires.
    """
    filled: dict[str, Any] = {}
    if injected.state:
        filled.update(_from_state(call, injected, runtime.state, messages_key))
    if injected.store is not None:
        if runtime.store is None:
            raise ValueError(
                "Cannot inject store into tools with InjectedStore annotations - please compile "
                "your graph with a store."
            )
        filled[injected.store] = runtime.store
    if injected.runtime is not None:
        filled[injected.runtime] = _as(injected.runtime_class, runtime)
    given = {key: v for key, v in call["args"].items() if key not in injected.hidden}
    return {**call, "args": {**given, **filled}}


def _from_state(
    call: Mapping[str, Any], injected: Injected, state: Any, messages_key: str
) -> dict[str, Any]:
    if isinstance(state, list):
        wanted = list(injected.state.values())
        if wanted != [messages_key] and wanted[0] is not None:
            message = (
                f"Invalid input to ToolNode. Tool {call['name']} requires graph state dict as "
                "input."
            )
            named = ", ".join(key for key in wanted if key)
            raise ValueError(
                f"{message} State should contain fields {named}." if named else message
            )
        state = {messages_key: state}
    values: dict[str, Any] = {}
    for name, key in injected.state.items():
        if not key:
            values[name] = state
        elif isinstance(state, Mapping):
            if key in state:
                values[name] = state[key]
            elif name not in injected.optional:
                raise KeyError(key)
        elif hasattr(state, key):
            values[name] = getattr(state, key)
        elif name not in injected.optional:
            raise AttributeError(key)
    return values


def _as(cls: Any, runtime: ToolRuntime[Any, Any]) -> Any:
    """Return the runtime as an instance of the class that the tool's annotation names."""
    if isinstance(runtime, cls):
        return runtime
    known = {f.name for f in fields(cls)}
    return cls(**{f.name: getattr(runtime, f.name) for f in fields(runtime) if f.name in known})
