"""From a blueprint to a spec and a program: which channels exist, what triggers and who writes.

The names of channels equal LangGraph's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from distgraph._internal.keys import BRANCH_TO, ROOT, TASKS
from distgraph.channels import (
    BaseChannel,
    EphemeralValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
)
from distgraph.constants import END, START, TAG_HIDDEN
from distgraph.contract.spec import (
    GraphProgram,
    GraphSpec,
    NodeProgram,
    NodeSpec,
    Split,
    Write,
    Writer,
)
from distgraph.graph.branch import Branch, BranchWriter
from distgraph.graph.schema import SchemaMapper, mapper_of
from distgraph.graph.subgraphs import find_graph, graph_or_action
from distgraph.graph.writes import EdgeWriter, StateWriter
from distgraph.placement import in_other_form
from distgraph.types import Send
from distgraph.worker.user_functions import FunctionNode, RunnableNode

if TYPE_CHECKING:
    from distgraph.graph.blueprint import Blueprint

__all__ = ("build",)

Interrupts = tuple[str, ...] | Literal["*"]


def build(
    blueprint: Blueprint,
    *,
    name: str,
    store: Any,
    cache: Any,
    interrupt_before: Interrupts,
    interrupt_after: Interrupts,
    persistence: bool | None,
) -> tuple[GraphSpec, GraphProgram]:
    """Return the driver's and the workers' half of a checked graph."""
    mappers = _Mappers(blueprint)
    channels = _channels(blueprint)
    joins = _joins(blueprint, channels)
    nodes = {START: _start_spec(blueprint)}
    children = {
        key: labelled(node.subgraph.program, node.subgraph.config)
        for key, node in blueprint.nodes.items()
        if node.subgraph is not None
    }
    programs = {START: _program(blueprint, START, joins, mappers)}
    for key in blueprint.nodes:
        nodes[key] = _node_spec(blueprint, key, joins, mappers, children)
        programs[key] = _program(blueprint, key, joins, mappers)
    for key, node_program in programs.items():
        nodes[key] = _completed(nodes[key], node_program)
    triggers: dict[str, list[str]] = {}
    for key, node in nodes.items():
        for trigger in node.triggers:
            triggers.setdefault(trigger, []).append(key)
    output = blueprint.schemas[blueprint.output_schema]
    spec = GraphSpec(
        name=name,
        channels=channels,
        managed=dict(blueprint.managed),
        nodes=nodes,
        input_channels=START,
        output_channels=ROOT if output.is_root else tuple(output.channels),
        stream_channels=ROOT if tuple(blueprint.channels) == (ROOT,) else tuple(blueprint.channels),
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        trigger_to_nodes={k: tuple(v) for k, v in triggers.items()},
        persistence=persistence,
        cached=cache is not None,
        edges=tuple(sorted(blueprint.edges)),
    )
    program = GraphProgram(
        spec=spec,
        nodes=programs,
        subgraphs=children,
        context_schema=blueprint.context_schema,
        store=store,
        cache=cache,
    )
    return spec, program


def labelled(program: GraphProgram, config: Mapping[str, Any] | None) -> GraphProgram:
    """Return the program of a graph as that of a subgraph: it uses its parent's store.

    It and its nodes get what ``with_config`` has set on the graph: tags, metadata, values of
    ``configurable``, ``max_concurrency``. Of two graphs around, the outer one decides.
    """
    if program.store is not None:
        program = replace(program, store=None)
    if config is None:
        return program
    tags, metadata = tuple(config.get("tags") or ()), config.get("metadata") or {}
    values, limit = config.get("configurable") or {}, config.get("max_concurrency")
    if not (tags or metadata or values or limit):
        return program
    inside = {**config, "metadata": None}  # tasks inherit metadata from the task around
    inner = {key: labelled(child, inside) for key, child in program.subgraphs.items()}
    spec = program.spec
    nodes = {
        key: replace(
            node,
            tags=(*tags, *node.tags),
            subgraph=inner[key].spec if key in inner else None,
        )
        for key, node in spec.nodes.items()
    }
    spec = replace(
        spec,
        nodes=nodes,
        metadata={**spec.metadata, **metadata},
        tags=(*tags, *spec.tags),
        configurable={**spec.configurable, **values},
        max_concurrency=limit or spec.max_concurrency,
    )
    return replace(program, spec=spec, subgraphs=inner)


class _Mappers:
    """Mappers by schema: a node and its branches share one mapper."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.schemas = blueprint.schemas
        self.made: dict[Any, SchemaMapper | None] = {}

    def of(self, schema: Any) -> SchemaMapper | None:
        if schema not in self.made:
            self.made[schema] = mapper_of(schema, self.schemas[schema].keys)
        return self.made[schema]


def _channels(blueprint: Blueprint) -> dict[str, BaseChannel]:
    channels: dict[str, BaseChannel] = dict(blueprint.channels)
    channels[START] = EphemeralValue(blueprint.input_schema)
    channels[TASKS] = Topic(Send, accumulate=False)
    for key, node in blueprint.nodes.items():
        channels[BRANCH_TO.format(key)] = (
            LastValueAfterFinish(Any) if node.defer else EphemeralValue(Any, guard=False)
        )
    for starts, end in blueprint.waiting_edges:
        if end == END:
            continue
        barrier = NamedBarrierValueAfterFinish if blueprint.nodes[end].defer else NamedBarrierValue
        channels[_join_name(starts, end)] = barrier(str, starts)
    for key, channel in channels.items():
        channel.key = key
    return channels


def _join_name(starts: tuple[str, ...], end: str) -> str:
    return f"join:{'+'.join(starts)}:{end}"


def _joins(
    blueprint: Blueprint, channels: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, ...], str]]:
    """Map the channel of each join to the nodes that it waits for and the node that it starts."""
    joins = {_join_name(*edge): edge for edge in blueprint.waiting_edges}
    return {name: edge for name, edge in joins.items() if name in channels}


def _start_spec(blueprint: Blueprint) -> NodeSpec:
    return NodeSpec(
        name=START,
        triggers=(START,),
        channels=START,
        branch_channels=_branch_channels(blueprint, START),
        tags=(TAG_HIDDEN,),
    )


def _node_spec(
    blueprint: Blueprint,
    key: str,
    joins: Mapping[str, tuple[tuple[str, ...], str]],
    mappers: _Mappers,
    children: Mapping[str, GraphProgram],
) -> NodeSpec:
    node = blueprint.nodes[key]
    schema = blueprint.schemas[node.input_schema]
    return NodeSpec(
        name=key,
        triggers=(
            BRANCH_TO.format(key),
            *(name for name, (_, end) in joins.items() if end == key),
        ),
        channels=ROOT if schema.is_root else schema.keys,
        branch_channels=_branch_channels(blueprint, key),
        mapper=mappers.of(node.input_schema),
        metadata=node.metadata,
        is_async=node.is_async,
        ray_options=node.ray_options,
        subgraph=children[key].spec if key in children else None,
        keeps_graph=find_graph(graph_or_action(node)) is not None,
        split=split_of(node.bound, node.ray_options, key),
        retry=node.retry_policy or (),
        timeout=node.timeout,
        cache=node.cache_policy,
        identity=node.identity if node.cache_policy is not None else "__dynamic__",
        error_handler=node.error_handler_node,
    )


def _divisible(bound: FunctionNode | RunnableNode | None) -> Any:
    """Return a node's action if its class splits the work into parts, else None.

    The class is asked, because an object such as a mock has every attribute.
    """
    if bound is None or not hasattr(type(bound.action), "distgraph_split"):
        return None
    return bound.action


def split_of(
    bound: FunctionNode | RunnableNode | None, ray_options: Mapping[str, Any], node: str
) -> Split | None:
    """Return the split of a node's work into parts; None if the node has no parts.

    Raises:
        ValueError: The node's ``ray_options`` contradict those of a part.
    """
    action = _divisible(bound)
    split: Any = None if action is None else action.distgraph_split()
    if ray_options and hasattr(split, "under"):
        split = split.under(ray_options, node)
    return split  # type: ignore[no-any-return]


def _program(
    blueprint: Blueprint,
    key: str,
    joins: Mapping[str, tuple[tuple[str, ...], str]],
    mappers: _Mappers,
) -> NodeProgram:
    bound = None if key == START else blueprint.nodes[key].bound
    if key == START:
        written = tuple(blueprint.schemas[blueprint.input_schema].channels)
    else:
        written = (*blueprint.channels, *blueprint.managed)
    writers: list[Writer] = [StateWriter(key, written)]
    static: list[Write] = [
        (BRANCH_TO.format(end), None)
        for start, end in blueprint.edges
        if start == key and end != END
    ]
    static += [(name, key) for name, (starts, _) in joins.items() if key in starts]
    if static:
        writers.append(EdgeWriter(tuple(static)))
    branches = blueprint.branches.get(key, {})
    writers += [_branch_writer(blueprint, branch, mappers) for branch in branches.values()]
    return NodeProgram(
        name=key,
        bound=bound,
        writers=tuple(writers),
        is_async=bound.is_async
        if bound is not None
        else any(branch.path.is_async for branch in branches.values()),
        awaited=bound.awaited if isinstance(bound, RunnableNode) and bound.has_both_forms else None,
        part=getattr(_divisible(bound), "distgraph_part", None),
        user_writers=bool(branches),
        trace=None if key == START else blueprint.nodes[key].trace_policy,
    )


def _branch_schema(blueprint: Blueprint, branch: Branch) -> Any:
    if branch.input_schema is not None:
        return branch.input_schema
    if branch.source in blueprint.nodes:
        return blueprint.nodes[branch.source].input_schema
    return blueprint.state_schema


def _branch_writer(blueprint: Blueprint, branch: Branch, mappers: _Mappers) -> BranchWriter:
    name = _branch_schema(blueprint, branch)
    schema = blueprint.schemas[name]
    return BranchWriter(
        source=branch.source,
        name=branch.name,
        path=branch.path,
        ends=branch.ends,
        select=ROOT if schema.is_root else schema.keys,
        mapper=mappers.of(name),
        passthrough=branch.input_schema is None,
    )


def _branch_channels(blueprint: Blueprint, key: str) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    for branch in blueprint.branches.get(key, {}).values():
        keys.update(dict.fromkeys(blueprint.schemas[_branch_schema(blueprint, branch)].keys))
    return tuple(keys)


def _completed(node: NodeSpec, program: NodeProgram) -> NodeSpec:
    """Give the driver the program of a node that runs no user code."""
    if node.split is not None:
        writers = None if program.user_writers else program.without_code()
        return with_other_form(replace(node, is_async=program.is_async, inline=writers), program)
    if program.bound is not None or program.user_writers:
        return with_other_form(replace(node, is_async=program.is_async), program)
    return replace(node, inline=program)


def with_other_form(node: NodeSpec, program: NodeProgram) -> NodeSpec:
    """Return a node that runs in the form of the run's caller, if its code has both forms."""
    if program.awaited is None:
        return node
    options = in_other_form(node.ray_options, node.is_async)
    other = replace(node, is_async=not node.is_async, ray_options=options)
    return replace(node, other_form=other)
