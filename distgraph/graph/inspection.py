"""The parts of a compiled graph as attributes with LangGraph's names: nodes, channels, schemas."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from distgraph._internal.consoles import completable
from distgraph.graph.node_function import runnable_of
from distgraph.graph.subgraphs import NestableGraph
from distgraph.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from distgraph.channels.base import BaseChannel
    from distgraph.graph.blueprint import Blueprint
    from distgraph.types import CachePolicy, RetryPolicy

__all__ = ("GraphNode", "Inspection")


@dataclass(frozen=True)
class GraphNode:
    """A node of a compiled graph, which can be run by itself: for tests."""

    name: str
    bound: Any
    """The node's function or ``Runnable``; see ``runnable_of``."""
    channels: list[str] | str
    triggers: list[str]
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    retry_policy: tuple[RetryPolicy, ...] = ()
    cache_policy: CachePolicy | None = None
    subgraphs: tuple[Any, ...] = ()
    """The graph that it is or may call."""

    def invoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """Run the node's function in this thread, and return the result.

        Raises:
            TypeError: The function is async; use ``ainvoke``.
        """
        return input if self.bound is None else self.bound.invoke(input, config)

    async def ainvoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """Async variant of ``invoke``."""
        return input if self.bound is None else await self.bound.ainvoke(input, config)

    def copy(self, update: Mapping[str, Any] | None = None) -> GraphNode:
        """Return the node with other fields."""
        return replace(self, **(update or {}))


class Inspection(NestableGraph):
    """The attributes and methods of a compiled graph that describe it."""

    blueprint: Blueprint
    name: Any
    store: Any

    stream_eager = False
    """LangGraph's: whether nodes' events are streamed at once. Here they always are."""

    @property
    def channels(self) -> Mapping[str, BaseChannel]:
        """The channels of the state and of the edges, by name. They hold no values."""
        return MappingProxyType(dict(self.spec.channels))

    @property
    def nodes(self) -> Mapping[str, GraphNode]:
        """The nodes, ``__start__`` included, by name."""
        inner = self.inner_graphs()
        found = {
            name: GraphNode(
                name,
                self._runnable(name),
                _keys(node.channels),
                list(node.triggers),
                node.metadata,
                node.tags,
                node.retry,
                node.cache,
                (inner[name],) if name in inner else (),
            )
            for name, node in self.spec.nodes.items()
        }
        return MappingProxyType(found)

    def _runnable(self, name: str) -> Any:
        node, program = self.spec.nodes[name], self.program.nodes.get(name)
        if node.subgraph is not None:
            return self.inner_graphs().get(name)
        options = {"metadata": node.metadata, "tags": node.tags, "store": self.store}
        return runnable_of(name, None if program is None else program.bound, None, **options)

    @property
    def input_channels(self) -> list[str] | str:
        """The channels that the input is written to; a str takes the whole input."""
        return _keys(self.spec.input_channels)

    @property
    def output_channels(self) -> list[str] | str:
        """The channels that the output is read from; a str is the whole output."""
        return _keys(self.spec.output_channels)

    @property
    def stream_channels(self) -> list[str] | str:
        """The channels that streams show; a str shows its bare value."""
        return _keys(self.spec.stream_channels)

    @property
    def stream_channels_asis(self) -> list[str] | str:
        """Equal to ``stream_channels``."""
        return self.stream_channels

    @property
    def stream_channels_list(self) -> list[str]:
        """The channels that streams show, always as a list."""
        keys = self.stream_channels
        return [keys] if isinstance(keys, str) else keys

    @property
    def trigger_to_nodes(self) -> dict[str, list[str]]:
        """The nodes that each channel starts."""
        return {channel: list(nodes) for channel, nodes in self.spec.trigger_to_nodes.items()}

    @property
    @completable
    def interrupt_before_nodes(self) -> list[str] | Literal["*"]:
        """The nodes that runs stop before."""
        return "*" if self.spec.interrupt_before == "*" else list(self.spec.interrupt_before)

    @property
    @completable
    def interrupt_after_nodes(self) -> list[str] | Literal["*"]:
        """The nodes that runs stop after."""
        return "*" if self.spec.interrupt_after == "*" else list(self.spec.interrupt_after)

    @property
    def node_error_handler_map(self) -> dict[str, str]:
        """The node that handles a node's failure, by that node's name."""
        nodes = self.spec.nodes.items()
        return {name: node.error_handler for name, node in nodes if node.error_handler}

    @property
    def retry_policy(self) -> tuple[RetryPolicy, ...]:
        """The policies of calls of tasks that have none."""
        return self.spec.call_retry

    @property
    def cache_policy(self) -> CachePolicy | None:
        """Cache policy for calls of tasks that have no policy of their own."""
        return self.spec.call_cache

    @property
    def schema_to_mapper(self) -> dict[Any, Any]:
        """Function that builds the object of a schema's class that nodes receive; None for a
        dict."""
        from distgraph.graph.schema import mapper_of

        schemas = self.blueprint.schemas.items()
        return {schema: mapper_of(schema, read.keys) for schema, read in schemas}

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
        return f"{base}{suffix.title()}" if base[0].isupper() else f"{base}_{suffix.lower()}"

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

    @property
    def context_schema(self) -> Any:
        """Schema of ``context=``, None without one."""
        return self.program.context_schema

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input. Needs pydantic."""
        from distgraph.graph.jsonschema import json_schema

        return json_schema(self.blueprint, self.blueprint.input_schema, self.get_name("Input"))

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output. Needs pydantic."""
        from distgraph.graph.jsonschema import json_schema

        return json_schema(self.blueprint, self.blueprint.output_schema, self.get_name("Output"))

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the context, None for a graph without one. Needs pydantic."""
        from distgraph.graph.jsonschema import context_json_schema

        return context_json_schema(self.context_schema)

    def config_schema(self, *, include: Sequence[str] | None = None) -> Any:
        """Return a pydantic model of the config: the context as ``configurable``. Deprecated.

        Args:
            include: Keys of LangChain's ``RunnableConfig`` that the model has as well.
        """
        warnings.warn(
            "`config_schema` is deprecated. Use `get_context_jsonschema` for the relevant schema "
            "instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        from distgraph.graph.jsonschema import config_model

        return config_model(self.context_schema, include or (), self.get_name("Config"))

    def get_config_jsonschema(self, *, include: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the JSON schema of ``config_schema``. Deprecated."""
        warnings.warn(
            "`get_config_jsonschema` is deprecated. Use `get_context_jsonschema` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        from distgraph.graph.jsonschema import config_model

        made = config_model(self.context_schema, include or (), self.get_name("Config"))
        schema: dict[str, Any] = made.model_json_schema()
        return schema


def _keys(keys: tuple[str, ...] | str) -> list[str] | str:
    return keys if isinstance(keys, str) else list(keys)
