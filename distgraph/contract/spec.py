"""A compiled graph, split into the part that the driver needs and the part that workers need.

The driver holds the ``GraphSpec``, which decides *what runs next*: topology, channels, reducers.
Workers hold the ``GraphProgram``, which *runs*: the user's functions and conditional edges. Both
are plain picklable data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from distgraph._internal.keys import NS_END

if TYPE_CHECKING:
    from distgraph.channels.base import BaseChannel
    from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

PART = "#"
"""Between a task's id and the number of a part, in the id of the part's attempt."""

Write = tuple[str, Any]
"""One write of a task: channel name and value."""

Reader = Callable[[Sequence[str] | str], Any]
"""Reads channels with the node's own writes applied: a list gives a dict of those that are set,
a str gives that channel's bare value (None when empty)."""


class Writer(Protocol):
    """Turns what a node returned into writes. Those of conditional edges are user code."""

    @property
    def is_async(self) -> bool:
        """Whether ``acall`` must be awaited in place of a plain call."""

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """Return the writes. ``context``: the attempt's ``TaskContext``; None in the engine."""

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        """Do the same as a plain call, as a coroutine."""


def is_awaited(writer: Writer, awaits: bool) -> bool:
    """Return whether ``acall`` of a writer must be awaited.

    Args:
        writer: A writer. Its attribute ``has_both_forms``, if any, says that its code has a sync
            and an async form.
        awaits: Whether the run's caller awaits the run.
    """
    return writer.is_async or (awaits and getattr(writer, "has_both_forms", False))


@dataclass(frozen=True)
class Part:
    """One piece of a node's work that runs as a task of its own, such as one tool call."""

    input: Any
    key: str
    """Kind of the part, such as the name of the tool: placement and time limits are set by key."""
    reads_state: bool = False
    """Whether the attempt receives the node's input schema from the state. Most parts need no
    state."""


@dataclass(frozen=True)
class PartOptions:
    """Options of all parts with one key."""

    is_async: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds that a part may run before its work is ended, from its start on the worker."""
    max_concurrency: int | None = None
    """Parts of this key that may run at once, within one run of the graph."""
    other_form: PartOptions | None = None
    """The options where the run's caller wants the other form, sync or async. None: the code has
    one form only."""

    def for_caller(self, awaits: bool) -> PartOptions:
        """Return the options for a sync caller, or for one that awaits the run."""
        other = self.other_form
        return self if other is None or self.is_async is awaits else other


class Split(Protocol):
    """The rule that splits a node's work into parts. Keep the object small: the driver holds a
    copy.

    A node's action returns its split from a method ``distgraph_split() -> Split``, and runs a part
    in ``distgraph_part(input, state, context)``: ``state`` is None unless the part reads the state,
    ``context`` is the attempt's ``TaskContext``, an awaitable result is awaited. Three methods are
    optional: ``sent_parts(value)`` returns the parts for the argument of a ``Send``,
    ``under(ray_options, node)`` returns the split for a node with these ``ray_options``, and
    ``name_sent(value)`` names the work of a node that runs as a whole for the argument of a
    ``Send``, for views of a run.
    """

    def parts(self, value: Any) -> Sequence[Part] | None:
        """Return the parts for the node's input, None to run the node as a whole."""

    def options(self, key: str) -> PartOptions:
        """Return the options of the parts with this key."""

    def timed_out(self, part: Part, seconds: float) -> Any:
        """Return the result of a part that exceeded its time limit of ``seconds``."""

    def join(self, value: Any, parts: Sequence[Part], results: Sequence[Any]) -> Any:
        """Join the results, in the order of the parts, into the return value of the node."""


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
    """Whether the node is, or its code refers to, a graph whose checkpoints are saved with this
    graph's."""
    split: Split | None = None
    """Set where the node's work falls into parts that run as tasks of their own."""
    retry: tuple[RetryPolicy, ...] = ()
    """The first that names an error decides about another attempt."""
    timeout: TimeoutPolicy | None = None
    """Time limits of one attempt, in seconds."""
    cache: CachePolicy | None = None
    identity: str = "__dynamic__"
    """Identity of the node's function: the namespace of its cached results."""
    error_handler: str | None = None
    """Name of the node that runs in the same superstep when this one has failed."""
    other_form: NodeSpec | None = None
    """The node where the run's caller wants the other form, sync or async. None: the node's code
    has one form only."""
    inline: NodeProgram | None = None
    """Set where the node holds no user code at all (``__start__`` without conditional edges, a
    subgraph without them): the engine computes its writes itself."""

    def for_caller(self, awaits: bool) -> NodeSpec:
        """Return the node for a sync caller, or for one that awaits the run."""
        other = self.other_form
        return self if other is None or self.is_async is awaits else other


@dataclass(frozen=True)
class NodeProgram:
    """A node as the worker sees it."""

    name: str
    bound: Callable[..., Any] | None
    """``bound(input, context) -> value`` (or an awaitable of it when ``is_async``), the user's
    function behind injection of config, writer, store and runtime. None passes the input on."""
    writers: tuple[Writer, ...] = ()
    is_async: bool = False
    awaited: Callable[..., Any] | None = None
    """The async form of ``bound`` where the node has both: the request says which one runs."""
    part: Callable[..., Any] | None = None
    """Runs one part of a split node: ``part(input, state, context)``."""
    trace: TracePolicy | None = None
    """The rule for the node's input and output in tracers."""
    retry: tuple[RetryPolicy, ...] = ()
    """Retry policies of a called task (functional API); the retry policies of nodes are in the
    ``GraphSpec``."""
    user_writers: bool = False
    """True where a writer runs user code (a conditional edge)."""

    def without_code(self) -> NodeProgram:
        """Return the node with its writers only."""
        return replace(self, bound=None, awaited=None, part=None)


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
    """Whether the graph has a cache, so that the cache policies of its nodes apply."""
    call_retry: tuple[RetryPolicy, ...] = ()
    """Retry policies for calls of tasks that have no policy of their own."""
    call_cache: CachePolicy | None = None
    """Cache policy for calls of tasks that have no policy of their own."""
    step_timeout: float | None = None
    """Seconds that a superstep may take. None and 0: no limit."""
    persistence: bool | None = None
    """Checkpointing of the graph as a subgraph. None: checkpoints of one call, to resume after an
    interrupt; True: one history for all calls of a thread; False: no checkpoints."""
    tags: tuple[str, ...] = ()
    """Tags that ``with_config`` gave the graph, or graphs around it, as a node. Its nodes have them
    too."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata that ``with_config`` gave the graph as a node. That of the task around comes
    first."""
    configurable: Mapping[str, Any] = field(default_factory=dict)
    """Values that ``with_config`` gave the graph, or graphs around it, as a node. Those of the run
    come first."""
    max_concurrency: int | None = None
    """Attempts of the graph's nodes that may run at once, where ``with_config`` gave it a limit and
    the run has none."""
    edges: tuple[tuple[str, str], ...] = ()
    """Unconditional edges: old checkpoints name channels after the node in front of an edge."""

    def own_namespace(self, ns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the namespace of a run of the graph, called under ``ns``."""
        if self.persistence is not True:
            return ns
        # one history for all calls: no task's id is in its name
        return tuple(part.split(NS_END)[0] for part in ns)


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
    """Cache for the results of the graph's nodes; only the driver's process uses the cache."""
