"""A compiled graph: its spec for the driver, its program for the workers, and how it is run."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from distgraph._internal.config import merge_configs
from distgraph._internal.mistakes import nearest, warn_once
from distgraph.contract.cache_names import namespace_of
from distgraph.contract.spec import GraphProgram, GraphSpec
from distgraph.errors import UnsupportedError
from distgraph.event_streams import Transformers
from distgraph.graph.inspection import Inspection
from distgraph.graph.runnable_methods import RunnableMethods
from distgraph.graph.spec import check_resources
from distgraph.graph.subgraphs import add_inner_callbacks, find_graph, graph_or_action
from distgraph.graph.thread_methods import StateMethods
from distgraph.persistence import sync_or_async
from distgraph.run import RunMethods

if TYPE_CHECKING:
    from typing_extensions import Self

    from distgraph.graph.blueprint import Blueprint
    from distgraph.graph.branch import Branch
    from distgraph.graph.drawing import DrawableGraph
    from distgraph.graph.spec import StateNodeSpec
    from distgraph.graph.state import StateGraph
    from distgraph.serde.program import ProgramBlob

__all__ = ("CompiledStateGraph",)

StateT = TypeVar("StateT", default=Any)
ContextT = TypeVar("ContextT", default=Any)
InputT = TypeVar("InputT", default=StateT)
OutputT = TypeVar("OutputT", default=StateT)


class _Setting:
    """An attribute of a compiled graph that its spec and its program follow when it is set."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, graph: Any, owner: type | None = None) -> Any:
        return self if graph is None else graph.__dict__[self._name]

    def __set__(self, graph: CompiledStateGraph, value: Any) -> None:
        graph.__dict__[self._name] = value
        graph._follow_setting(self._name, value)


class CompiledStateGraph(
    RunMethods[ContextT, InputT],
    StateMethods,
    Inspection,
    RunnableMethods,
    Generic[StateT, ContextT, InputT, OutputT],
):
    """A compiled graph, the result of ``StateGraph.compile``.

    Attributes:
        builder: The graph builder; None for a graph without a builder.
        blueprint: Nodes, edges and schemas at the time of ``compile``.
        spec: Topology, channels and reducers; the driver holds the spec.
        program: The user's functions; the workers hold the program.
        backend: The backend of the graph; None for the default of the session.
        output_mapper: Coerces a whole output to the output schema's class (``version="v2"``).
        state_mapper: Coerces the whole state to the state schema's class (``version="v2"``).
        stream_transformers: Factories of the projections of ``stream_events(version="v3")``.
        config: Config defaults from ``with_config``; None without defaults.
        stream_mode: Default stream mode of ``stream``.
        name, checkpointer, store, cache: The arguments of ``compile``; the attributes can be set.
    """

    name = _Setting()
    checkpointer = _Setting()
    store = _Setting()
    cache = _Setting()

    def __init__(
        self,
        *,
        builder: StateGraph[Any, Any, Any, Any] | None,
        blueprint: Blueprint,
        spec: GraphSpec,
        program: GraphProgram,
        name: str,
        backend: Any = None,
        checkpointer: Any = None,
        store: Any = None,
        cache: Any = None,
        debug: bool = False,
        output_mapper: Callable[[Any], Any] | None = None,
        state_mapper: Callable[[Any], Any] | None = None,
        stream_transformers: Transformers = (),
    ) -> None:
        self.builder = builder
        self.blueprint = blueprint
        self.spec = spec
        self.program = program
        self._blob: ProgramBlob | None = None
        self.name = name
        self.backend = backend
        self.checkpointer = checkpointer
        self.store = store
        self.cache = cache
        self.debug = debug
        self.output_mapper = output_mapper
        self.state_mapper = state_mapper
        self.stream_transformers = tuple(stream_transformers)
        self.stream_mode: str | Sequence[str] = "updates"
        self.config: dict[str, Any] | None = None

    @property
    def blob(self) -> ProgramBlob:
        """The program as bytes, for backends that ship it."""
        if self._blob is None:
            from distgraph.serde.program import ProgramBlob

            self._blob = ProgramBlob(self.program)
        return self._blob

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blob": None, "_inner": None}

    def _follow_setting(self, name: str, value: Any) -> None:
        spec, program = self.spec, self.program
        if name == "name":
            spec = replace(spec, name=value)
        elif name == "checkpointer":
            spec = replace(spec, persistence=value if isinstance(value, bool) else None)
        elif name == "cache":
            spec, program = replace(spec, cached=value is not None), replace(program, cache=value)
        elif name == "step_timeout":
            spec = replace(spec, step_timeout=value)
        else:
            program = replace(program, store=value)
        self.spec, self.program = spec, replace(program, spec=spec)
        self._blob = None

    @property
    def step_timeout(self) -> float | None:
        """Seconds that a superstep may take before the run fails with ``TimeoutError``, or None.

        A new value applies to runs that start later, and to graphs that are compiled later with
        this graph as a node.

        Raises:
            ValueError: The value is no number of seconds.
        """
        return self.spec.step_timeout

    @step_timeout.setter
    def step_timeout(self, seconds: float | None) -> None:
        if seconds is not None and (type(seconds) not in (int, float) or seconds < 0):
            raise ValueError(
                f"graph {self.name!r}: step_timeout takes seconds or None, got {seconds!r}"
            )
        self._follow_setting("step_timeout", seconds)

    def copy(self, update: Mapping[str, Any] | None = None) -> Self:
        """Return a graph with the same nodes, and other settings.

        Args:
            update: Of ``name``, ``checkpointer``, ``store``, ``cache``, ``backend``, ``debug``,
                ``stream_mode``, ``step_timeout`` and ``config``, those that differ.

        Raises:
            ValueError: ``update`` has another key: compile the builder again.
        """
        update = dict(update or {})
        unknown = sorted(update.keys() - _SETTINGS)
        if unknown:
            raise ValueError(
                f"copy: {', '.join(map(repr, unknown))} cannot be changed; choose from "
                f"{', '.join(sorted(_SETTINGS))}, or compile the builder again."
                f"{nearest(unknown[0], _SETTINGS)}"
            )
        resources = {"checkpointer", "store", "cache"} & update.keys()
        backend = update.get("backend", self.backend)
        check_resources(backend, **{name: update[name] for name in resources})
        new = copy.copy(self)
        for name, value in update.items():
            setattr(new, name, merge_configs(value) if name == "config" else value)
        return new

    def with_config(self, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Self:
        """Return a copy with default values for the config of its runs."""
        bound = copy.copy(self)
        bound.config = merge_configs(merge_configs(self.config, config), kwargs)
        return bound

    def inner_callbacks(self) -> dict[tuple[str, ...], Any]:
        """Return the callbacks that ``with_config`` gave to graphs that are nodes, by the names of
        the nodes that lead there."""
        found: dict[tuple[str, ...], Any] = {}
        for name, node in self.blueprint.nodes.items():
            if node.subgraph is not None:
                add_inner_callbacks(found, name, node.subgraph.config, node.subgraph)
        return found

    def get_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return the graph's nodes and edges for drawing.

        Args:
            config: Ignored; a drawing does not depend on it.
            xray: Draw the inside of subgraphs: True for all levels, or the number of levels.
        """
        from distgraph.graph.drawing import drawable

        inner = self.inner_graphs() if xray else {}
        deeper = xray if xray is True else xray - 1
        insides = {name: graph.get_graph(xray=deeper) for name, graph in inner.items()}
        return drawable(self.blueprint, self.spec, insides)

    async def aget_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return the result of ``get_graph``, as a coroutine."""
        return self.get_graph(config, xray=xray)

    def _find_inner(self) -> Mapping[str, Any]:
        graphs = {name: find_graph(graph_or_action(n)) for name, n in self.blueprint.nodes.items()}
        return {name: graph for name, graph in graphs.items() if graph is not None}

    def validate(self) -> Self:
        """Return the graph, which ``compile`` has checked."""
        return self

    def attach_node(self, key: str, node: StateNodeSpec | None) -> None:
        """Add a node, as ``builder.nodes`` of another graph holds it, to the compiled graph."""
        if node is not None:
            self._extended().nodes[key] = node
        self._build()

    def attach_edge(self, starts: str | Sequence[str], end: str) -> None:
        """Add an edge, from several nodes together if they are a list, to the compiled graph."""
        blueprint = self._extended()
        if isinstance(starts, str):
            blueprint.edges[starts, end] = None
        else:
            blueprint.waiting_edges[tuple(starts), end] = None
        self._build()

    def attach_branch(
        self, start: str, name: str, branch: Branch, *, with_reader: bool = True
    ) -> None:
        """Add a conditional edge, as ``builder.branches`` holds it, to the compiled graph."""
        self._extended().branches.setdefault(start, {})[name] = branch
        self._build()

    def _extended(self) -> Blueprint:
        if not self.blueprint.schemas:
            raise UnsupportedError(
                f"graph {self.name!r} was not compiled from a StateGraph of distgraph's: nothing "
                "can be attached. Add to its StateGraph, and compile or distribute that again"
            )
        self.blueprint = self.blueprint.completed()  # a copy made by with_config keeps its own
        return self.blueprint

    def _build(self) -> None:
        from distgraph.graph.compiling import build

        spec = self.spec
        self.spec, self.program = build(
            self.blueprint,
            name=self.name,
            store=self.store,
            cache=self.cache,
            interrupt_before=spec.interrupt_before,
            interrupt_after=spec.interrupt_after,
            persistence=spec.persistence,
        )
        self._follow_setting("step_timeout", spec.step_timeout)
        self._inner = None

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Delete the cached results of these nodes; by default, of all nodes.

        Raises:
            ValueError: The graph was compiled without a cache.
        """
        sync_or_async.call(self.cache, "clear", (self._cached(nodes),))

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Async variant of ``clear_cache``."""
        namespaces = self._cached(nodes)
        if sync_or_async.has_own(self.cache, "aclear"):
            await self.cache.aclear(namespaces)
        else:
            await asyncio.to_thread(sync_or_async.call, self.cache, "clear", (namespaces,))

    def _cached(self, nodes: Sequence[str] | None) -> list[tuple[str, ...]]:
        """Return the namespaces in which the cache keeps the results of nodes."""
        if self.cache is None:
            raise ValueError(
                "No cache is set for this graph. Cannot clear cache. Compile it with cache=..."
            )
        specs = self.spec.nodes
        unknown = [name for name in nodes or () if name not in specs]
        if unknown:
            warn_once(
                f"clear_cache: graph {self.name!r} has no node {name!r}.{nearest(name, specs)}"
                for name in unknown
            )
        return [namespace_of(specs[name]) for name in nodes or specs if name in specs]

    def _repr_mimebundle_(self, **wanted: Any) -> dict[str, str]:
        """Return what a notebook shows: the picture of the graph, and its ``repr``."""
        return {**self.get_graph()._repr_mimebundle_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        nodes = ", ".join(self.spec.nodes)
        return f"{type(self).__name__}(name={self.name!r}, nodes=[{nodes}])"


_SETTINGS = frozenset(
    {
        "name",
        "checkpointer",
        "store",
        "cache",
        "backend",
        "debug",
        "stream_mode",
        "step_timeout",
        "config",
    }
)
