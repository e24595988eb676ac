"""A graph's declaration as plain data: what checking, compiling, drawing and schemas read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from distgraph.channels.base import BaseChannel
from distgraph.channels.last_value import LastValue
from distgraph.graph.branch import Branch
from distgraph.graph.policies import NodeDefaults
from distgraph.graph.schema import Schema, read_schema
from distgraph.graph.spec import StateNodeSpec
from distgraph.managed import ManagedKind

__all__ = ("Blueprint",)


@dataclass
class Blueprint:
    """Nodes, edges and schemas of a graph.

    Attributes:
        state_schema, input_schema, output_schema: Classes, or ``Annotated[T, reducer]``.
        context_schema: Class of the run's context, None without one.
        nodes: By name, in the order of declaration.
        edges: Pairs (start, end). A dict for an ordered set: the order of writes must not depend
            on hashes.
        waiting_edges: Pairs (starts, end): ``end`` starts after all of ``starts``.
        branches: Conditional edges by source and by name.
        channels: Of all schemas, by state key.
        managed: Kinds of managed values, by state key.
        schemas: Every schema of the graph and of its nodes, as read.
        defaults: Policies of nodes that have none of their own.
    """

    state_schema: Any
    context_schema: Any = None
    input_schema: Any = None
    output_schema: Any = None
    nodes: dict[str, StateNodeSpec] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    waiting_edges: dict[tuple[tuple[str, ...], str], None] = field(default_factory=dict)
    branches: dict[str, dict[str, Branch]] = field(default_factory=dict)
    channels: dict[str, BaseChannel] = field(default_factory=dict)
    managed: dict[str, ManagedKind] = field(default_factory=dict)
    schemas: dict[Any, Schema] = field(default_factory=dict)
    defaults: NodeDefaults = field(default_factory=NodeDefaults)

    def add_schema(self, schema: Any, *, allow_managed: bool = True) -> None:
        """Add the channels of a schema.

        Raises:
            ValueError: An earlier schema declares a key otherwise, or a schema of inputs or
                outputs has a managed value.
        """
        if schema in self.schemas:
            return
        read = read_schema(schema)
        name = getattr(schema, "__name__", repr(schema))
        if read.managed and not allow_managed:
            raise ValueError(
                f"Invalid managed channels detected in {name}: {', '.join(read.managed)}. "
                "Managed channels are not permitted in Input/Output schema"
            )
        for key, channel in read.channels.items():
            known = self.channels.get(key)
            if known is None:
                self.channels[key] = channel
            elif known != channel and not isinstance(channel, LastValue):
                raise ValueError(
                    f"Channel '{key}' already exists with a different type: {name} declares "
                    f"{_kind(channel)}, an earlier schema {_kind(known)}. Declare the reducer in "
                    "one schema, the graph's state, and leave it out of the others"
                )
        for key, kind in read.managed.items():
            if self.managed.setdefault(key, kind) != kind:
                raise ValueError(f"Managed value '{key}' already exists with a different type")
        self.schemas[schema] = read

    def completed(self) -> Blueprint:
        """Return a copy in which ``defaults`` are applied, and that later changes do not reach.

        Raises:
            ValueError: A node has the name of the default error handler.
        """
        return replace(
            self,
            nodes=self.defaults.applied(self.nodes, self.state_schema),
            edges=dict(self.edges),
            waiting_edges=dict(self.waiting_edges),
            branches={source: dict(branches) for source, branches in self.branches.items()},
            channels=dict(self.channels),
            managed=dict(self.managed),
            schemas=dict(self.schemas),
            defaults=NodeDefaults(),
        )


def _kind(channel: BaseChannel) -> str:
    reducer = getattr(channel, "operator", None)
    name = type(channel).__name__
    return name if reducer is None else f"{name}({getattr(reducer, '__name__', reducer)})"
