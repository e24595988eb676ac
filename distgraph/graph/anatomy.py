"""What a compiled graph is made of, for those who test, describe or vary it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from distgraph._internal.config import merge_configs
from distgraph.runtime import Runtime

if TYPE_CHECKING:
    from typing_extensions import Self

    from distgraph.channels.base import BaseChannel
    from distgraph.contract.spec import GraphProgram, GraphSpec
    from distgraph.graph.blueprint import Blueprint

__all__ = ("Anatomy", "GraphNode")


@dataclass(frozen=True)
class GraphNode:
    """A node of a compiled graph, which can be run by itself: for tests."""

    name: str
    bound: Any
    """The user's function or ``Runnable`` behind injection, or the graph that is the node; None
    where nothing runs."""
    channels: tuple[str, ...] | str
    triggers: tuple[str, ...]
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    store: Any = None

    def invoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """Return what the node's function returns for this input, run here and now.

        It is no run of the graph: nothing is checkpointed, streamed, retried or sent anywhere.

        Raises:
            TypeError: The function is async; use ``ainvoke``.
        """
        if getattr(self.bound, "is_async", False):
            raise TypeError(f"node {self.name!r} is async: await its ainvoke")
        return self._call(input, config)

    async def ainvoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """As ``invoke``, awaited."""
        if hasattr(self.bound, "ainvoke"):
            return await self.bound.ainvoke(input, config)
        value = self._call(input, config)
        return await value if inspect.isawaitable(value) else value

    def _call(self, input: Any, config: Mapping[str, Any] | None) -> Any:
        if self.bound is None:
            return input
        if hasattr(self.bound, "invoke"):
            return self.bound.invoke(input, config)
        own = {"metadata": self.metadata or {}, "tags": self.tags}
        runtime: Runtime[Any] = Runtime(store=self.store)
        context = SimpleNamespace(
            config=merge_configs(own, config),
            writer=runtime.stream_writer,
            store=self.store,
            runtime=runtime,
            previous=None,
        )
        return self.bound(input, context)

    def copy(self, update: Mapping[str, Any] | None = None) -> GraphNode:
        """Return the node with other fields."""
        return replace(self, **(update or {}))


class Anatomy:
    """The attributes of a compiled graph that show its parts."""

    blueprint: Blueprint
    spec: GraphSpec
    program: GraphProgram
    name: str
    store: Any
    backend: Any

    @property
    def channels(self) -> Mapping[str, BaseChannel]:
        """The channels of the state and of the edges, by name. They hold no values."""
        return MappingProxyType(dict(self.spec.channels))

    @property
    def nodes(self) -> Mapping[str, GraphNode]:
        """The nodes, ``__start__`` included, by name."""
        inner = self.blueprint.nodes
        return {
            name: GraphNode(
                name,
                self._bound(name) or getattr(inner.get(name), "subgraph", None),
                node.channels,
                node.triggers,
                node.metadata,
                node.tags,
                self.store,
            )
            for name, node in self.spec.nodes.items()
        }

    def _bound(self, name: str) -> Any:
        program = self.program.nodes.get(name)
        return None if program is None else program.bound

    @property
    def input_channels(self) -> tuple[str, ...] | str:
        """The channels that the input is written to; a str takes the whole input."""
        return self.spec.input_channels

    @property
    def output_channels(self) -> tuple[str, ...] | str:
        """The channels that the output is read from; a str is the whole output."""
        return self.spec.output_channels

    @property
    def stream_channels(self) -> tuple[str, ...] | str:
        """The channels that streams show."""
        return self.spec.stream_channels

    def copy(self, update: Mapping[str, Any] | None = None) -> Self:
        """Return a graph with the same nodes, and other settings.

        Args:
            update: Of ``name``, ``checkpointer``, ``store``, ``backend``, ``debug`` and
                ``config``, those that differ.

        Raises:
            ValueError: Something else is to differ: compile its builder again.
        """
        update = dict(update or {})
        unknown = sorted(update.keys() - _SETTINGS)
        if unknown:
            raise ValueError(
                f"copy: {', '.join(map(repr, unknown))} cannot be changed; choose from "
                f"{', '.join(sorted(_SETTINGS))}, or compile the builder again"
            )
        if {"checkpointer", "store"} & update.keys():
            from distgraph.backends import backend_name
            from distgraph.persistence import check

            backend = backend_name(update.get("backend", self.backend))
            for option in ("checkpointer", "store"):
                if not isinstance(given := update.get(option), (bool, type(None))):
                    check(given, option, backend)
        new: Any = copy.copy(self)
        for name, value in update.items():
            setattr(new, name, merge_configs(value) if name == "config" else value)
        kept = update.get("checkpointer")
        new.spec = replace(
            self.spec,
            name=new.name,
            persistence=(kept if isinstance(kept, bool) else None)
            if "checkpointer" in update
            else self.spec.persistence,
        )
        new.program = replace(self.program, spec=new.spec, store=new.store)
        new._blob = None
        made: Self = new
        return made

    @property
    def InputType(self) -> Any:
        """The type of the input."""
        return self.blueprint.input_schema

    @property
    def OutputType(self) -> Any:
        """The type of the output."""
        return self.blueprint.output_schema

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the graph's name, with ``suffix`` appended where one is given."""
        base = name or self.name
        if not suffix:
            return base
        return f"{base}{suffix}" if base[0].isupper() else f"{base}_{suffix.lower()}"

    def get_input_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the input."""
        from distgraph.graph.jsonschema import schema_model

        return schema_model(self.blueprint, self.blueprint.input_schema, self.get_name("Input"))

    def get_output_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the output."""
        from distgraph.graph.jsonschema import schema_model

        return schema_model(self.blueprint, self.blueprint.output_schema, self.get_name("Output"))

    @property
    def input_schema(self) -> Any:
        """A pydantic model of the input."""
        return self.get_input_schema()

    @property
    def output_schema(self) -> Any:
        """A pydantic model of the output."""
        return self.get_output_schema()

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the context, None for a graph without one. Needs pydantic."""
        from distgraph.graph.jsonschema import context_json_schema

        return context_json_schema(self.program.context_schema)


_SETTINGS = frozenset({"name", "checkpointer", "store", "backend", "debug", "config"})
