"""What a compiled graph is, split along the line that its parts are needed on.

``GraphSpec`` is all that decides *what runs next*: topology, channels, reducers. The driver holds
it. ``GraphProgram`` is all that *runs*: the user's functions and conditional edges. Workers hold
it. Both are plain picklable data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from distgraph.channels.base import BaseChannel

Write = tuple[str, Any]
"""One write of a task: channel name, value."""

Reader = Callable[[Sequence[str] | str], Any]
"""Reads channels with the node's own writes applied: a list gives a dict of those that are set,
a str gives that channel's bare value (None when empty)."""


class Writer(Protocol):
    """Turns what a node returned into writes. Those of conditional edges are user code."""

    @property
    def is_async(self) -> bool:
        """Whether ``acall`` is to be awaited in place of a call."""

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """Return the writes. ``context`` is the attempt's ``TaskContext``."""

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """As a call, awaited."""


@dataclass(frozen=True)
class NodeSpec:
    """A node as the driver sees it."""

    name: str
    triggers: tuple[str, ...]
    """Channels whose update starts the node, in the order in which edges were added."""
    channels: tuple[str, ...] | str
    """State keys of the node's input schema (managed values included); a str reads that
    channel's bare value."""
    branch_channels: tuple[str, ...] = ()
    """Further channels that the node's conditional edges read."""
    mapper: Callable[[Any], Any] | None = None
    """Turns the dict of channel values into the input schema's class (pydantic, dataclass)."""
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    is_async: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    subgraph: GraphSpec | None = None
    """Set for a node that is a compiled graph: its nodes run on the same driver."""
    inline: NodeProgram | None = None
    """Set where the node holds no user code at all (``__start__`` without conditional edges, a
    subgraph without them): the engine computes its writes itself."""


@dataclass(frozen=True)
class NodeProgram:
    """A node as the worker sees it."""

    name: str
    bound: Callable[..., Any] | None
    """``bound(input, context) -> value`` (or an awaitable of it when ``is_async``), the user's
    function behind injection of config, writer, store and runtime. None passes the input on."""
    writers: tuple[Writer, ...] = ()
    is_async: bool = False
    user_writers: bool = False
    """True where a writer runs user code (a conditional edge)."""


@dataclass(frozen=True)
class GraphSpec:
    """A compiled graph as the driver sees it."""

    name: str
    channels: Mapping[str, BaseChannel]
    """Channel templates: the engine copies them, it never updates these."""
    managed: Mapping[str, Literal["is_last_step", "remaining_steps"]]
    nodes: Mapping[str, NodeSpec]
    input_channels: tuple[str, ...] | str
    output_channels: tuple[str, ...] | str
    stream_channels: tuple[str, ...] | str
    interrupt_before: tuple[str, ...] | Literal["*"] = ()
    interrupt_after: tuple[str, ...] | Literal["*"] = ()
    trigger_to_nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphProgram:
    """A compiled graph as the worker sees it."""

    spec: GraphSpec
    nodes: Mapping[str, NodeProgram]
    subgraphs: Mapping[str, GraphProgram] = field(default_factory=dict)
    """By the name of the node that is the subgraph."""
    context_schema: type[Any] | None = None
    store: Any = None
