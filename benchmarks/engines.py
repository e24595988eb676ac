"""The two libraries under the same names, so that each case builds one graph for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from benchmarks.harness import LANGGRAPH, LOCAL, OURS


@dataclass(frozen=True, eq=False)
class Engine:
    """What a case needs of a library."""

    name: str
    StateGraph: Any
    Send: Any
    get_stream_writer: Callable[[], Callable[[Any], None]]
    MessagesState: Any
    ToolNode: Any
    compile_options: dict[str, Any] = field(default_factory=dict)

    def add(self, builder: Any, name: str, node: Any, **ray_options: Any) -> None:
        """Add a node, with options of Ray where the library knows them."""
        own = {"ray_options": ray_options} if self.name == OURS and ray_options else {}
        builder.add_node(name, node, **own)

    def compile(self, builder: Any, **options: Any) -> Any:
        """Return the graph, to run on this engine."""
        return builder.compile(**self.compile_options, **options)


@cache
def engines() -> tuple[Engine, Engine]:
    """Return ours on Ray, and LangGraph in this process."""
    import langgraph.config
    import langgraph.graph
    import langgraph.prebuilt
    import langgraph.types

    import distgraph.config
    import distgraph.graph
    import distgraph.prebuilt
    import distgraph.types

    return (
        Engine(
            OURS,
            distgraph.graph.StateGraph,
            distgraph.types.Send,
            distgraph.config.get_stream_writer,
            distgraph.graph.MessagesState,
            distgraph.prebuilt.ToolNode,
            {"backend": "ray"},
        ),
        Engine(
            LANGGRAPH,
            langgraph.graph.StateGraph,
            langgraph.types.Send,
            langgraph.config.get_stream_writer,
            langgraph.graph.MessagesState,
            langgraph.prebuilt.ToolNode,
        ),
    )


def in_process() -> Engine:
    """Return ours in this process: the same engine without Ray."""
    return replace(engines()[0], name=LOCAL, compile_options={"backend": "local"})
