"""A compiled graph as a LangChain ``Runnable``. The module is imported on first use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

__all__ = ("GraphRunnable",)


class GraphRunnable(Runnable[Any, Any]):
    """A graph where a ``Runnable`` is wanted: its runs are the graph's own.

    Attributes:
        graph: The compiled graph.
        name: Its name.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.name = graph.name

    @property
    def InputType(self) -> Any:
        return self.graph.InputType

    @property
    def OutputType(self) -> Any:
        return self.graph.OutputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        return self.graph.get_input_schema(config)

    def get_output_schema(self, config: RunnableConfig | None = None) -> Any:
        return self.graph.get_output_schema(config)

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        return dict(self.graph.get_input_jsonschema(config))

    def get_output_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        return dict(self.graph.get_output_jsonschema(config))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self.graph.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self.graph.ainvoke(input, config, **kwargs)

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        yield from self.graph.stream(input, config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        chunks = self.graph.astream(input, config, **kwargs)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return GraphRunnable(self.graph.with_config(config, **kwargs))

    def __repr__(self) -> str:
        return repr(self.graph)
