"""``StateGraph``: nodes that communicate by reading and writing a shared state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol

from typing_extensions import Self, Unpack

from distgraph._internal.adapters import as_node
from distgraph._internal.keys import ROOT
from distgraph._internal.mistakes import nearest
from distgraph.backends import backend_name
from distgraph.constants import END, START
from distgraph.contract.deprecated_arguments import (
    DeprecatedGraphArguments,
    DeprecatedNodeArguments,
    with_deprecated,
)
from distgraph.event_streams import Transformers, checked_transformers
from distgraph.graph.blueprint import Blueprint
from distgraph.graph.branch import make_branch, path_name
from distgraph.graph.checking import check_graph, check_name, check_schema
from distgraph.graph.compiled import (
    CompiledStateGraph,
    ContextT,
    InputT,
    OutputT,
    StateT,
)
from distgraph.graph.compiling import build
from distgraph.graph.policies import handler_spec, node_policies
from distgraph.graph.schema import mapper_of
from distgraph.graph.spec import (
    StateNodeSpec,
    check_resources,
    infer,
    node_name,
)
from distgraph.placement import RayOptions, resolve, validate
from distgraph.worker.context import active_task
from distgraph.worker.pooled import Pooled, factory_of
from distgraph.worker.user_functions import FunctionNode, RunnableNode, bind

if TYPE_CHECKING:
    from datetime import timedelta

    from langgraph.cache.base import BaseCache
    from langgraph.store.base import BaseStore

    from distgraph.backends.base import Backend, BackendName
    from distgraph.types import CachePolicy, Checkpointer, RetryPolicy, TimeoutPolicy, TracePolicy

    class Invokable(Protocol):
        """A LangChain ``Runnable``, or a graph."""

        @property
        def invoke(self) -> Callable[..., Any]:
            """The method that runs it."""

    Path = Callable[..., Any] | Invokable
    Action = Path | dict[str, Any]

__all__ = ("StateGraph",)

logger = logging.getLogger(__name__)

PathMap = Mapping[Any, str] | Sequence[str] | None
Interrupts = Sequence[str] | Literal["*"] | None


class StateGraph(Generic[StateT, ContextT, InputT, OutputT]):
    """A builder of a graph; ``compile`` returns the graph that runs.

    Every node reads the state and returns an update of it. A key that is annotated with a reducer
    ``(current, update) -> new`` takes several updates in one superstep, another key takes one.

    Args:
        state_schema: A TypedDict, dataclass, pydantic model, or ``Annotated[T, reducer]``.
        context_schema: Schema of the run's ``context=``.
        input_schema: What the graph takes, if not the whole state.
        output_schema: What the graph returns, if not the whole state.

    Raises:
        ValueError: A reducer that does not take two arguments, or schemas that disagree on a key.
        TypeError: A schema is an object, such as a dict, and no class.
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        **deprecated: Unpack[DeprecatedGraphArguments],
    ) -> None:
        if deprecated:
            context_schema, input_schema, output_schema = with_deprecated(
                StateGraph,
                deprecated,
                context_schema=context_schema,
                input_schema=input_schema,
                output_schema=output_schema,
            )
        for given in (state_schema, input_schema, output_schema):
            check_schema(given)
        self.blueprint = blueprint = Blueprint(
            state_schema,
            context_schema,
            input_schema or state_schema,
            output_schema or state_schema,
        )
        self.compiled = False
        self.state_schema: Any = blueprint.state_schema
        self.context_schema: Any = blueprint.context_schema
        self.input_schema: Any = blueprint.input_schema
        self.output_schema: Any = blueprint.output_schema
        self.nodes = blueprint.nodes
        self.edges = blueprint.edges
        self.waiting_edges = blueprint.waiting_edges
        self.branches = blueprint.branches
        self.channels = blueprint.channels
        self.managed = blueprint.managed
        self.schemas = blueprint.schemas
        blueprint.add_schema(self.state_schema)
        blueprint.add_schema(self.input_schema, allow_managed=False)
        blueprint.add_schema(self.output_schema, allow_managed=False)

    def _changing(self, what: str) -> None:
        if self.compiled:
            logger.warning(
                "Adding %s to a graph that has already been compiled. This will not be reflected "
                "in the compiled graph.",
                what,
            )

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> Self:
        """Set policies for every node that has none of its own, whenever it is added.

        Retries and timeouts hold for error handlers too. Subgraphs do not inherit any of them.

        Args:
            retry_policy, cache_policy, error_handler, timeout: As ``add_node`` takes them.

        Raises:
            TypeError, ValueError: A policy is invalid.
        """
        where = "Node defaults"
        retry, cache, limit = node_policies(where, retry_policy, cache_policy, timeout)
        defaults = self.blueprint.defaults
        if retry is not None:
            defaults.retry_policy = retry
        if cache is not None:
            defaults.cache_policy = cache
        if limit is not None:
            defaults.timeout = limit
        if error_handler is not None:
            defaults.error_handler = error_handler
        return self

    def add_node(
        self,
        node: str | Action,
        action: Action | None = None,
        *,
        defer: bool = False,
        metadata: Mapping[str, Any] | None = None,
        input_schema: type[Any] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy | None = None,
        error_handler: Callable[..., Any] | None = None,
        destinations: Mapping[str, str] | Sequence[str] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        trace_policy: TracePolicy | None = None,
        ray_options: RayOptions | None = None,
        **deprecated: Unpack[DeprecatedNodeArguments],
    ) -> Self:
        """Add a node.

        Args:
            node: The node's name; or its action, whose name is then the node's name.
            action: A function, callable object, LangChain ``Runnable`` or compiled graph. It takes
                the state; parameters named ``config``, ``writer``, ``store`` and ``runtime`` are
                filled in. A class, or a ``functools.partial`` of one, is constructed once per
                worker of a pool, and its instances are called.
            defer: Run the node only when no other task is left to run.
            metadata: Metadata for the node's runs.
            input_schema: Schema of the node's input. Default: the annotation of the first
                parameter, else the graph's state.
            retry_policy: Retries after a failed attempt: a ``RetryPolicy``, or several; the first
                policy that matches the error applies.
            cache_policy: Use of the cache given to ``compile`` for the node's results.
            error_handler: Function that runs in the same superstep after the last failed attempt.
                The function takes the node's input, and the failure in a parameter
                ``error: NodeError``; the return value replaces the node's.
            timeout: Time limit of an attempt: seconds, a ``timedelta``, or a ``TimeoutPolicy``. An
                attempt over the limit fails with ``NodeTimeoutError``.
            trace_policy: Changes of the node's input and output as tracers among the callbacks
                receive them.
            destinations: Possible targets of the node's ``Command``, for drawing: names, or a dict
                of names to labels. Default: ``-> Command[Literal[...]]``.
            ray_options: Placement of the node's attempts. As in Ray: ``num_cpus``, ``num_gpus``,
                ``memory`` (bytes), ``resources``, ``accelerator_type``, ``label_selector``,
                ``scheduling_strategy``, ``runtime_env``. Also ``placement``: ``"task"``,
                ``"async"`` or ``"thread"``; and for a class ``concurrency``: the number of workers,
                or (min, max).

        Raises:
            ValueError: The name is taken, reserved or holds ``|`` or ``:``; the action cannot be
                called with the state alone; ``ray_options`` is invalid.
            TypeError: The action cannot be called.
            UnsupportedError: The action is a graph and ``timeout`` has an idle timeout.
        """
        if deprecated:
            retry_policy, input_schema = with_deprecated(
                self.add_node, deprecated, retry_policy=retry_policy, input_schema=input_schema
            )
        if not isinstance(node, str):
            if action is not None:
                raise TypeError(
                    f"add_node takes a name and an action, or an action alone: got "
                    f"{type(node).__name__} and {type(action).__name__}"
                )
            action, node = node, node_name(node)
        check_name(node, action, self.nodes)
        action = as_node(action)
        self._changing("a node")
        where = f"Node `{node}`"
        retry, cache, limit = node_policies(where, retry_policy, cache_policy, timeout)
        options = validate(ray_options, node)
        subgraph = action if isinstance(action, CompiledStateGraph) else None
        if subgraph is None:
            bound, described = _bound(action, options, where)
            resolve(options, bound.is_async, node)
            inferred = infer(described)
        elif options:
            raise ValueError(
                f"{where} is a compiled graph: give ray_options to its own nodes, which are what "
                "runs"
            )
        else:
            bound, inferred = None, None
        own_schema = input_schema or (inferred.input_schema if inferred else None)
        ends: Any = destinations
        if ends is None:
            ends = inferred.ends if inferred else ()
        if own_schema is not None:
            self.blueprint.add_schema(own_schema)
        schema = own_schema or self.state_schema
        handler = None
        if error_handler is not None:
            handler = f"__error_handler__{node}"
            if handler in self.nodes:
                raise ValueError(
                    f"Auto-generated error handler node `{handler}` already exists. Give your node "
                    "another name"
                )
            self.nodes[handler] = handler_spec(handler, error_handler, schema)
        self.nodes[node] = StateNodeSpec(
            name=node,
            bound=bound,
            input_schema=schema,
            metadata=None if metadata is None else dict(metadata),
            defer=defer,
            ends=dict(ends) if isinstance(ends, Mapping) else tuple(ends),
            ray_options=options,
            subgraph=subgraph,
            retry_policy=retry,
            cache_policy=cache,
            timeout=limit,
            error_handler_node=handler,
            trace_policy=trace_policy,
        )
        return self

    def add_edge(self, start_key: str | Sequence[str], end_key: str) -> Self:
        """Start ``end_key`` after ``start_key``; after all of them if it is a list.

        Raises:
            ValueError: The edge leaves END or enters START, or a list names an unknown node.
        """
        self._changing("an edge")
        if end_key == START:
            raise ValueError("START cannot be an end node. Lead the edge to another node")
        starts = (start_key,) if isinstance(start_key, str) else tuple(start_key)
        if END in starts:
            raise ValueError("END cannot be a start node. Let the edge start at another node")
        if isinstance(start_key, str):
            self.edges[start_key, end_key] = None
            return self
        if not starts:
            raise ValueError(f"The list of nodes before `{end_key}` is empty")
        for key in (*starts, end_key):
            if key != END and key not in self.nodes:
                raise ValueError(f"Need to add_node `{key}` first.{nearest(key, self.nodes, 0.7)}")
        self.waiting_edges[starts, end_key] = None
        return self

    def add_conditional_edges(self, source: str, path: Path, path_map: PathMap = None) -> Self:
        """Let a function choose what runs after ``source``.

        Args:
            source: The node that it runs after.
            path: Takes the state as ``source`` left it, and returns a node name, END, a ``Send``,
                a key of ``path_map``, or a list of these. Sync, async, or a ``Runnable``.
            path_map: What ``path`` may return, to node names; a list if these are the same.
                Default: ``-> Literal[...]``.

        Raises:
            ValueError: ``source`` has a conditional edge of that name already.
        """
        self._changing("an edge")
        if source == END:
            raise ValueError("END cannot be a start node. Let the edge start at another node")
        name = path_name(path)
        known = self.branches.get(source, {})
        if name in known:
            raise ValueError(
                f"Branch with name `{name}` already exists for node `{source}`. Give the path "
                "function another name"
            )
        branch = make_branch(source, name, path, path_map)
        if branch.input_schema is not None:
            self.blueprint.add_schema(branch.input_schema)
        self.branches.setdefault(source, {})[name] = branch
        return self

    def add_sequence(self, nodes: Sequence[Action | tuple[str, Action]]) -> Self:
        """Add nodes (actions, or ``(name, action)`` pairs) with an edge from each to the next.

        Raises:
            ValueError: There are none, or a name occurs twice.
        """
        if not nodes:
            raise ValueError("Sequence requires at least one node.")
        previous: str | None = None
        for node in nodes:
            name, action = (
                node if isinstance(node, tuple) and len(node) == 2 else (node_name(node), node)
            )
            if name in self.nodes:
                raise ValueError(
                    f"Node names must be unique: node with the name '{name}' already exists. Name "
                    "nodes of the same function (or lambda) by tuples (name, function)"
                )
            self.add_node(name, action)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Start the graph at ``key``: ``add_edge(START, key)``."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(self, path: Path, path_map: PathMap = None) -> Self:
        """Let a function choose where the graph starts."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """End the graph after ``key``: ``add_edge(key, END)``."""
        return self.add_edge(key, END)

    def validate(self, interrupt: Sequence[str] | None = None) -> Self:
        """Check that edges, branches and breakpoints name existing nodes.

        Raises:
            ValueError: One does not, or the graph has no entry point.
        """
        check_graph(self.blueprint, interrupt or ())
        self.compiled = True
        return self

    def compile(
        self,
        checkpointer: Checkpointer = None,
        *,
        cache: BaseCache[Any] | None = None,
        store: BaseStore | None = None,
        interrupt_before: Interrupts = None,
        interrupt_after: Interrupts = None,
        debug: bool = False,
        name: str | None = None,
        backend: BackendName | Backend | None = None,
        transformers: Transformers | None = None,
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]:
        """Check the graph and return a graph that runs.

        Args:
            checkpointer: A saver of ``langgraph-checkpoint``: every run then needs a
                ``thread_id``. For a subgraph: None continues after interrupts with its
                parent's saver, True keeps one history for all calls, False saves nothing.
            cache: The cache for results of nodes with a ``cache_policy``: a ``BaseCache`` of
                ``langgraph-checkpoint``. Each graph has its own; subgraphs inherit none.
            store: What nodes receive as ``store``: one object, wherever they run.
            interrupt_before: Nodes to stop before, or "*" for all.
            interrupt_after: Nodes to stop after, or "*" for all.
            debug: Print the stream of every run.
            name: Name of the graph, in streams and as a node of another graph.
            backend: "ray", "local", or a backend object. Default: the session's backend.
            transformers: Stream transformers for ``stream_events(version="v3")``: classes of
                ``langgraph.stream``, or functions that take a namespace and return one.

        Raises:
            ValueError: The graph is not complete; see ``validate``.
            UnsupportedError: A saver, store or cache that the backend cannot reach.
            TypeError: A transformer is an instance, or not callable.
        """
        check_resources(backend, checkpointer=checkpointer, store=store, cache=cache)
        stream_transformers = checked_transformers(transformers)
        before, after = _interrupts(interrupt_before), _interrupts(interrupt_after)
        self.validate([n for names in (before, after) if names != "*" for n in names])
        name = name or "LangGraph"
        blueprint = self.blueprint.completed()
        spec, program = build(
            blueprint,
            name=name,
            store=store,
            cache=cache,
            interrupt_before=before,
            interrupt_after=after,
            persistence=checkpointer if isinstance(checkpointer, bool) else None,
        )
        compiled = CompiledStateGraph(
            builder=self,
            blueprint=blueprint,
            spec=spec,
            program=program,
            name=name,
            backend=backend,
            checkpointer=checkpointer,
            store=store,
            cache=cache,
            debug=debug,
            output_mapper=_whole_mapper(self.output_schema, spec.output_channels),
            state_mapper=_whole_mapper(self.state_schema, spec.stream_channels),
            stream_transformers=stream_transformers,
        )
        if active_task() is None and backend_name(backend) == "ray":
            compiled.blob.check()  # what cannot travel is told now, by name
        return compiled


def _bound(
    action: Any, options: dict[str, Any], where: str
) -> tuple[FunctionNode | RunnableNode, Any]:
    """Return the object that runs, and the function that describes the object. A class becomes a
    pool."""
    cls = factory_of(action)
    if cls is None:
        if "concurrency" in options:
            raise ValueError(
                f"{where}: ray_options['concurrency'] is for a class, which each worker of a pool "
                "constructs once. Give the class as the node, or bound the run with "
                'config={"max_concurrency": …}'
            )
        return bind(action, where), action
    size = options.setdefault("concurrency", (1, None))
    pooled = Pooled(action, size[1], where)
    return bind(pooled, where), MethodType(cls.__call__, cls)


def _interrupts(names: Interrupts) -> tuple[str, ...] | Literal["*"]:
    if names == "*":
        return "*"
    if isinstance(names, str):
        return (names,)
    return tuple(names or ())


def _whole_mapper(schema: Any, keys: tuple[str, ...] | str) -> Callable[[Any], Any] | None:
    return mapper_of(schema, (ROOT,) if isinstance(keys, str) else keys)
