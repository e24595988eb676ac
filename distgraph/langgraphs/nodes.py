"""The translation of a compiled LangGraph graph: nodes, triggers, writers and channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from distgraph import placement
from distgraph._internal.keys import PREVIOUS
from distgraph._internal.mistakes import nearest
from distgraph.contract.cache_names import cache_policy_of, identity_of
from distgraph.contract.retries import policies_of
from distgraph.contract.spec import GraphProgram, GraphSpec, NodeProgram, NodeSpec
from distgraph.graph.compiling import labelled, with_other_form
from distgraph.graph.schema import SchemaMapper
from distgraph.graph.subgraphs import NestableGraph
from distgraph.langgraphs.channels import translate_channels
from distgraph.langgraphs.node_program import NodeRunnable
from distgraph.langgraphs.pinning import pinned_parts
from distgraph.langgraphs.vocabulary import private
from distgraph.langgraphs.writers import branch_channels, own_writers, worker_writers
from distgraph.types import TimeoutPolicy
from distgraph.worker.runnable_forms import async_only, has_async_form

__all__ = ("GivenOptions", "translate")


@dataclass
class GivenOptions:
    """The caller's ``ray_options``, and which of them have found their node.

    Keys name a node; ``"child:node"`` names a node of a subgraph, ``"tools:search"`` a tool of a
    ``ToolNode``, and a tool's bare name will do where no node has it.
    """

    given: Mapping[str, Mapping[str, Any]]
    known: set[str] = field(default_factory=set)
    defaults: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """For nodes and tools that are given none."""

    def of(self, key: str) -> Mapping[str, Any]:
        """Return the options under a key."""
        self.known.add(key)
        return self.given.get(key) or self.defaults.get(key) or {}

    def of_tools(
        self, node: str, tools: Iterable[str], nodes: Iterable[str]
    ) -> dict[str, Mapping[str, Any]]:
        """Return the options of a node's tools."""
        found: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            options = dict(self.of(f"{node}:{tool}"))
            if tool not in nodes:
                options = {**self.of(tool), **options}
            if options:
                found[tool] = options
        return found

    def check(self) -> None:
        """Refuse options that nothing has.

        Raises:
            ValueError: Names the key, and the nearest that there is.
        """
        for key in self.given:
            if key not in self.known:
                names = ", ".join(sorted(self.known))
                hint = nearest(key, self.known)
                if key in placement.RayOptions.__annotations__:
                    hint = f" Give options by node: {{'node': {{{key!r}: ...}}}}."
                raise ValueError(
                    f"ray_options: the graph has no node or tool {key!r}.{hint} Nodes and tools: "
                    f"{names}"
                )


def translate(
    graph: Any, options: GivenOptions, *, prefix: str = ""
) -> tuple[GraphSpec, GraphProgram]:
    """Return the spec for the driver and the program for the workers of a compiled LangGraph graph.

    Args:
        graph: Its ``Pregel``, which is only read.
        options: The caller's ``ray_options``.
        prefix: Names of the subgraphs that lead to it, each followed by a colon.

    Raises:
        UnsupportedError: The graph or one of its nodes uses an unsupported feature.
        ValueError: ``ray_options`` are invalid.
    """
    name = str(graph.name)
    within = f" of subgraph `{prefix[:-1]}`" if prefix else ""
    where = f"Subgraph `{prefix[:-1]}`" if prefix else f"Graph `{name}`"
    channels, managed = translate_channels(graph.channels, where)
    keys = [key for key in (*channels, *managed) if ":" not in key and "__" not in key]
    options.defaults.update({prefix + key: own for key, own in pinned_parts(graph).items()})
    nodes: dict[str, NodeSpec] = {}
    programs: dict[str, NodeProgram] = {}
    children: dict[str, GraphProgram] = {}
    for key, node in graph.nodes.items():
        if is_graph(node.bound):
            if options.of(prefix + key):
                raise ValueError(
                    f"Node `{key}`{within} is a graph: give ray_options to its own nodes, by "
                    f"'{prefix}{key}:<node>'"
                )
            if isinstance(node.bound, NestableGraph):  # it was built with our StateGraph
                child = node.bound.program
            else:
                child = translate(node.bound, options, prefix=f"{prefix}{key}:")[1]
            children[key] = labelled(child, node.bound.config)
        made = _node(graph, key, node, keys, children.get(key), options, prefix)
        nodes[key], programs[key] = made
    triggers: dict[str, list[str]] = {}
    for key, spec in nodes.items():
        for trigger in spec.triggers:
            triggers.setdefault(trigger, []).append(key)
    graph_spec = GraphSpec(
        name=name,
        channels=channels,
        managed=managed,
        nodes=nodes,
        input_channels=_keys(graph.input_channels),
        output_channels=_keys(graph.output_channels),
        stream_channels=_keys(graph.stream_channels_asis),
        interrupt_before=_breakpoints(graph.interrupt_before_nodes),
        interrupt_after=_breakpoints(graph.interrupt_after_nodes),
        trigger_to_nodes={key: tuple(names) for key, names in triggers.items()},
        cached=graph.cache is not None,
        call_retry=policies_of(graph.retry_policy or None),
        call_cache=cache_policy_of(graph.cache_policy),
        step_timeout=graph.step_timeout,
        persistence=graph.checkpointer if isinstance(graph.checkpointer, bool) else None,
        edges=tuple(sorted(getattr(getattr(graph, "builder", None), "edges", ()))),
    )
    program = GraphProgram(
        spec=graph_spec,
        nodes=programs,
        subgraphs=children,
        context_schema=graph.context_schema,
        store=graph.store,
        cache=graph.cache,
    )
    return graph_spec, program


def _node(
    graph: Any,
    key: str,
    node: Any,
    keys: list[str],
    child: GraphProgram | None,
    options: GivenOptions,
    prefix: str,
) -> tuple[NodeSpec, NodeProgram]:
    bound = _bound(node)
    ray_options: dict[str, Any] = {}
    tools = None
    if bound is not None and child is None:
        ray_options = placement.validate(options.of(prefix + key), prefix + key)
        tools = _tools(graph, prefix + key, bound, ray_options, options)
    is_async, both = (False, False) if bound is None or child is not None else _forms(bound)
    writers = worker_writers(node.flat_writers)
    reads = branch_channels(node.flat_writers, keys)
    if hasattr(bound, "tools_by_name"):
        from distgraph.langgraphs.tools import calls_async_form, needs_loop

        is_async = needs_loop(bound)  # where it is split, each call decides for itself
        both = not is_async and calls_async_form(bound)
        if tools is None or tools.stateful:
            reads = tuple(keys)  # a ToolNode reads the state as conditional edges do
    if PREVIOUS in graph.channels:  # an @entrypoint, which waits for the tasks that it calls
        reads = (*reads, PREVIOUS)
        if not (is_async or ray_options):
            ray_options = {"placement": "thread"}
    placement.resolve(ray_options, is_async, prefix + key)
    waits = is_async or ((bound is None or child is not None) and any(w.is_async for w in writers))
    program = NodeProgram(
        name=key,
        bound=None
        if bound is None or child is not None
        else NodeRunnable(bound, is_async and not both),
        writers=writers,
        is_async=waits,
        awaited=NodeRunnable(bound, True) if both else None,
        part=None if tools is None else tools.part,
        user_writers=True,
        trace=getattr(node, "trace_policy", None),
    )
    inline = own_writers(graph, key) if program.bound is None or tools is not None else None
    cache = cache_policy_of(node.cache_policy or graph.cache_policy)
    spec = NodeSpec(
        name=key,
        triggers=tuple(node.triggers),
        channels=_keys(node.channels),
        branch_channels=reads,
        mapper=_mapper(node.mapper),
        metadata=node.metadata,
        tags=tuple(node.tags or ()),
        is_async=waits,
        ray_options=ray_options,
        subgraph=None if child is None else child.spec,
        keeps_graph=bool(node.subgraphs),
        split=None if tools is None else tools.split,
        retry=policies_of(node.retry_policy or graph.retry_policy or None),
        timeout=TimeoutPolicy.coerce(getattr(node, "timeout", None)),
        cache=cache,
        identity="__dynamic__" if cache is None else _identity(node.bound),
        error_handler=getattr(node, "error_handler_node", None),
        inline=None if inline is None else NodeProgram(key, None, inline),
    )
    return with_other_form(spec, program), program


def _forms(bound: Any) -> tuple[bool, bool]:
    """Return whether a node's ``Runnable`` is placed as async code, and whether it has both forms.

    A node that was written in both forms is: on a cluster, a thousand nodes that wait share a
    process.
    """
    if async_only(bound):
        return True, False
    both = has_async_form(bound)
    return both and hasattr(bound, "afunc"), both


def _identity(bound: Any) -> str:
    """Return the name under which LangGraph caches a node's results."""
    first = bound.steps[0] if type(bound).__name__ == "RunnableSeq" else bound
    return identity_of(first.func if type(first).__name__ == "RunnableCallable" else first)


def is_graph(runnable: Any) -> bool:
    """Whether what a node of LangGraph runs is a graph, LangGraph's or distgraph's."""
    from langgraph.pregel import Pregel

    return Pregel in type(runnable).__mro__ or isinstance(runnable, NestableGraph)


def _bound(node: Any) -> Any:
    """Return the object that a node runs; None if the node only passes its input on."""
    return None if node.bound is private("DEFAULT_BOUND") else node.bound


def _tools(graph: Any, key: str, bound: Any, base: Mapping[str, Any], options: GivenOptions) -> Any:
    tools = getattr(bound, "tools_by_name", None)
    if tools is None:
        return None
    from distgraph.langgraphs.tools import tools_of

    return tools_of(bound, key, base, options.of_tools(key, tools, graph.nodes))


def _keys(keys: Any) -> tuple[str, ...] | str:
    return keys if isinstance(keys, str) else tuple(keys)


def _breakpoints(nodes: Any) -> tuple[str, ...] | Literal["*"]:
    return "*" if nodes == "*" else tuple(nodes or ())


def _mapper(mapper: Any) -> Any:
    """Return distgraph's mapper for LangGraph's, so that the driver need not load LangGraph."""
    if (
        isinstance(mapper, partial)
        and getattr(mapper.func, "__name__", "") == "_coerce_state"
        and len(mapper.args) == 1
    ):
        return SchemaMapper(mapper.args[0])
    return mapper
