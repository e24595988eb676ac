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
    from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

PART = "#"
"""Between a task's id and the number of a part, in the id of the part's attempt."""

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
class Part:
    """One piece of a node's work that runs as a task of its own, such as one tool call."""

    input: Any
    key: str
    """What kind of piece it is, such as the tool's name: placement and limits go by it."""
    reads_state: bool = False
    """Whether the node's input schema travels along. Most pieces need no state at all."""


@dataclass(frozen=True)
class PartOptions:
    """How the parts with one key run."""

    is_async: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds that a part may run before its work is ended, from its start on the worker."""
    max_concurrency: int | None = None
    """Parts of this key that may run at once, within one run of the graph."""


class Split(Protocol):
    """How a node's work falls into parts: pure and small, for it lives on the driver.

    A node's action offers it by a method ``distgraph_split() -> Split``, and runs a part by
    ``distgraph_part(input, state, context)``, where ``state`` is None unless the part reads it and
    ``context`` is the attempt's ``TaskContext``; the result is awaited if it is awaitable.
    Where the argument of a ``Send`` falls into other parts than the node's own state, a method
    ``sent_parts(value)`` returns those. Where the parts take part in the node's ``ray_options``, a
    method ``under(ray_options, node)`` returns the split that they make.
    """

    def parts(self, value: Any) -> Sequence[Part] | None:
        """Return the parts for the node's input, None to run the node as a whole."""

    def options(self, key: str) -> PartOptions:
        """Return how the parts with this key run."""

    def timed_out(self, part: Part, seconds: float) -> Any:
        """Return what stands for the result of a part that ran for too long."""

    def join(self, value: Any, parts: Sequence[Part], results: Sequence[Any]) -> Any:
        """Return what the node returns, given the results in the order of the parts."""


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
    keeps_graph: bool = False
    """Whether the node is, or its code names, a graph whose checkpoints are kept with its own."""
    split: Split | None = None
    """Set where the node's work falls into parts that run as tasks of their own."""
    retry: tuple[RetryPolicy, ...] = ()
    """The first that names an error decides about another attempt."""
    timeout: TimeoutPolicy | None = None
    """Of an attempt, its times in seconds."""
    cache: CachePolicy | None = None
    identity: str = "__dynamic__"
    """Of the node's function: cached results are filed under it."""
    error_handler: str | None = None
    """Name of the node that runs in the same superstep when this one has failed."""
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
    part: Callable[..., Any] | None = None
    """Runs one part of a split node: ``part(input, state, context)``."""
    trace: TracePolicy | None = None
    """What tracers are told in place of the node's input and output."""
    retry: tuple[RetryPolicy, ...] = ()
    """Of a call of a task only; those of nodes are in the graph's spec."""
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
    cached: bool = False
    """Whether the graph has a cache: the policies of its nodes are in force."""
    call_retry: tuple[RetryPolicy, ...] = ()
    """Of calls of tasks that have no policy of their own."""
    call_cache: CachePolicy | None = None
    """Likewise."""
    step_timeout: float | None = None
    """Seconds that a superstep may take. None and 0: no limit."""
    persistence: bool | None = None
    """As a subgraph: None saves its steps for one call, to go on from an interrupt; True keeps one
    history for all calls of a thread; False saves nothing."""
    edges: tuple[tuple[str, str], ...] = ()
    """Unconditional edges: old checkpoints name channels after the node in front of an edge."""


@dataclass(frozen=True)
class GraphProgram:
    """A compiled graph as the worker sees it."""

    spec: GraphSpec
    nodes: Mapping[str, NodeProgram]
    subgraphs: Mapping[str, GraphProgram] = field(default_factory=dict)
    """By the name of the node that is the subgraph."""
    context_schema: type[Any] | None = None
    store: Any = None
    cache: Any = None
    """Where results of its nodes are kept: only the process of the run's driver uses it."""
