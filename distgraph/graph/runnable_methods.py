"""LangChain ``Runnable`` methods of graphs: ``graph | runnable``, ``with_retry``,
``astream_events``.

A compiled graph is not a subclass of LangChain's ``Runnable``, because importing distgraph must not
import LangChain. A graph has the methods of a ``Runnable``, each built when called. If LangChain is
loaded, ``isinstance(graph, Runnable)`` is true, so that ``runnable | graph`` works too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from distgraph.errors import MissingExtraError
from distgraph.event_streams import Transformers, event_arun, event_run
from distgraph.worker.user_functions import count_as_theirs

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from langgraph.stream import AsyncGraphRunStream, GraphRunStream

__all__ = ("RunnableMethods",)


class RunnableMethods:
    """The methods of LangChain's ``Runnable`` beside ``invoke``, ``stream`` and ``batch``."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class, as ``isinstance`` reads the attribute; langchain-core need not be loaded
        before."""
        count_as_theirs(type(self))
        return type(self)

    def as_runnable(self) -> Runnable[Any, Any]:
        """Return the graph as a LangChain ``Runnable``, for functions that require a ``Runnable``.

        Raises:
            MissingExtraError: langchain-core is not installed.
        """
        try:
            from distgraph.graph.runnables import GraphRunnable
        except ImportError as error:
            raise MissingExtraError(
                "a graph as a Runnable needs langchain-core: pip install langchain-core"
            ) from error
        return GraphRunnable(self)

    def __or__(self, other: Any) -> Any:
        return self.as_runnable() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.as_runnable()

    def pipe(self, *others: Any, name: str | None = None) -> Any:
        """Return the graph with what takes its output, as ``|`` does."""
        return self.as_runnable().pipe(*others, name=name)

    def bind(self, **kwargs: Any) -> Any:
        """Return a ``Runnable`` whose runs have these arguments, such as ``context=``."""
        return self.as_runnable().bind(**kwargs)

    def with_retry(self, **options: Any) -> Any:
        """Return a ``Runnable`` that starts a run again when it fails.

        A node has ``retry_policy=``, which repeats no more than the node.
        """
        return self.as_runnable().with_retry(**options)

    def with_fallbacks(self, fallbacks: Sequence[Any], **options: Any) -> Any:
        """Return a ``Runnable`` that runs another one where the graph fails."""
        others = [f.as_runnable() if isinstance(f, RunnableMethods) else f for f in fallbacks]
        return self.as_runnable().with_fallbacks(others, **options)

    def with_listeners(self, **listeners: Any) -> Any:
        """Return a ``Runnable`` that calls these functions at the start and the end of each run."""
        return self.as_runnable().with_listeners(**listeners)

    def with_alisteners(self, **listeners: Any) -> Any:
        """Variant of ``with_listeners`` for coroutine functions."""
        return self.as_runnable().with_alisteners(**listeners)

    def with_types(self, **types: Any) -> Any:
        """Return a ``Runnable`` with these types of input and output."""
        return self.as_runnable().with_types(**types)

    def pick(self, keys: str | list[str]) -> Any:
        """Return a ``Runnable`` that gives one key of the output, or a dict of some."""
        return self.as_runnable().pick(keys)

    def assign(self, **values: Any) -> Any:
        """Return a ``Runnable`` that adds what others make of the output to it."""
        return self.as_runnable().assign(**values)

    def map(self) -> Any:
        """Return a ``Runnable`` that runs the graph on each item of a list."""
        return self.as_runnable().map()

    def as_tool(self, **options: Any) -> Any:
        """Return the graph as a tool for a model."""
        return self.as_runnable().as_tool(**options)

    def transform(self, input: Iterator[Any], config: Any = None, **options: Any) -> Iterator[Any]:
        """Run the graph on the sum of the input's chunks, and yield its stream."""
        return self.as_runnable().transform(input, config, **options)

    def atransform(
        self, input: AsyncIterator[Any], config: Any = None, **options: Any
    ) -> AsyncIterator[Any]:
        """Async variant of ``transform``."""
        return self.as_runnable().atransform(input, config, **options)

    def batch_as_completed(
        self, inputs: Sequence[Any], config: Any = None, **options: Any
    ) -> Iterator[tuple[int, Any]]:
        """Run the graph on each input, and yield ``(index, output)`` as the runs end."""
        return self.as_runnable().batch_as_completed(inputs, config, **options)

    def abatch_as_completed(
        self, inputs: Sequence[Any], config: Any = None, **options: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        """Async variant of ``batch_as_completed``."""
        return self.as_runnable().abatch_as_completed(inputs, config, **options)

    def stream_events(
        self,
        input: Any,
        config: Any = None,
        *,
        version: str = "v2",
        transformers: Transformers | None = None,
        **options: Any,
    ) -> GraphRunStream:
        """Return the stream of a run by projections: ``values``, ``messages``, ``subgraphs``, …

        Args:
            input: As of ``stream``.
            config: As of ``stream``.
            version: "v3". There is no synchronous form of the others.
            transformers: Stream transformers in addition to those of ``compile``: classes, or
                functions that take a namespace.
            options: Further options of ``stream``; not ``stream_mode`` or ``subgraphs``.

        Raises:
            NotImplementedError: ``version`` is another one.
            MissingExtraError: LangGraph 1.2 or newer is not installed.
            TypeError: A transformer is an instance, or an option is one that transformers decide.
        """
        if version != "v3":
            raise NotImplementedError(
                f"stream_events(version={version!r}) has no synchronous form: use version='v3', "
                "or astream_events"
            )
        return event_run(self, input, config, transformers, options)

    def astream_events(
        self,
        input: Any,
        config: Any = None,
        *,
        version: str = "v2",
        transformers: Transformers | None = None,
        **options: Any,
    ) -> Any:
        """Run the graph and yield LangChain's events of all that runs in it.

        Args:
            input: As of ``astream``.
            config: As of ``astream``.
            version: "v2", "v1" as it was, or "v3": then ``await`` the result, which is the
                stream of a run by projections; see ``stream_events``.
            transformers: Version "v3": as of ``stream_events``.
            options: ``include_names``, ``include_types``, ``include_tags`` and their ``exclude_``
                forms; what ``astream`` takes.
        """
        if version == "v3":
            return self._aevents(input, config, transformers, options)
        version_: Any = version
        events: AsyncIterator[Any] = self.as_runnable().astream_events(
            input, config, version=version_, **options
        )
        return events

    async def _aevents(
        self, input: Any, config: Any, transformers: Transformers | None, options: dict[str, Any]
    ) -> AsyncGraphRunStream:
        return event_arun(self, input, config, transformers, options)

    def astream_log(self, input: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Run the graph and yield LangChain's log of it, as JSON patches."""
        return self.as_runnable().astream_log(input, config, **options)

    @property
    def config_specs(self) -> list[Any]:
        """Configurable fields in LangChain's form: a graph has none."""
        return []

    def get_prompts(self, config: Any = None) -> list[Any]:
        """Return the prompt templates of the graph, as LangChain finds them: none."""
        return []
