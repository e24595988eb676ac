"""The function of a node as an object that can be called here and now, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from distgraph._internal.config import merge_configs
from distgraph.graph.subgraphs import NestableGraph
from distgraph.runtime import Runtime
from distgraph.worker.user_functions import RunnableNode

__all__ = ("NodeFunction", "runnable_of")


@dataclass(frozen=True)
class NodeFunction:
    """The function of a node, which can be called here and now: for tests.

    Such a call is no run of the graph: nothing is checkpointed, streamed, retried or sent anywhere.
    """

    name: str
    bound: Any
    """The user's function, with injection of config, writer, store and runtime."""
    metadata: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    store: Any = None

    @property
    def func(self) -> Any:
        """The function, None if it is async."""
        return None if self._is_async else getattr(self.bound, "action", self.bound)

    @property
    def afunc(self) -> Any:
        """The function if it is async, else None."""
        return getattr(self.bound, "action", self.bound) if self._is_async else None

    @property
    def _is_async(self) -> bool:
        return bool(getattr(self.bound, "is_async", False))

    def invoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """Run the function with this input, and return the result.

        Raises:
            TypeError: The function is async; use ``ainvoke``.
        """
        if self._is_async:
            raise TypeError(f"node {self.name!r} is async: await its ainvoke")
        return self._call(input, config)

    async def ainvoke(self, input: Any, config: Mapping[str, Any] | None = None) -> Any:
        """Async variant of ``invoke``."""
        value = self._call(input, config)
        return await value if self._is_async else value

    def _call(self, input: Any, config: Mapping[str, Any] | None) -> Any:
        own = {"metadata": self.metadata or {}, "tags": self.tags}
        runtime: Runtime[Any] = Runtime(store=self.store)
        context = SimpleNamespace(
            config=merge_configs(own, config),
            writer=runtime.stream_writer,
            store=self.store,
            runtime=runtime,
            previous=None,
        )
        return self.bound(input, context)


def runnable_of(
    name: str,
    bound: Any,
    subgraph: NestableGraph | None,
    **options: Any,
) -> Any:
    """Return the object that a node runs: its graph, its LangChain ``Runnable``, or a
    ``NodeFunction``.

    None for a node without a function.

    Args:
        name: Name of the node.
        bound: The user's function or ``Runnable``, with injection.
        subgraph: The graph that is the node.
        options: Options of the ``NodeFunction``.
    """
    if bound is None or subgraph is not None:
        return subgraph
    return (
        bound.runnable if isinstance(bound, RunnableNode) else NodeFunction(name, bound, **options)
    )
