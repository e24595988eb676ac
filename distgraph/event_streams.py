"""``stream_events`` and ``astream_events``, version "v3": the stream of a run by projections.

LangGraph's own package ``langgraph.stream`` turns the chunks of a run into events and projections,
and stream transformers are its classes. What this module adds is the run: the modes that the
transformers need, and chat messages in the form of events (``message-start``,
``content-block-delta``, …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distgraph._internal.steps import awalk, walk
from distgraph.errors import MissingExtraError
from distgraph.invocation.arguments import check_arguments
from distgraph.invocation.prepare import Invocation, run_namespace
from distgraph.langgraphs.vocabulary import private

if TYPE_CHECKING:
    from langgraph.stream import AsyncGraphRunStream, GraphRunStream, StreamTransformer

__all__ = ("Transformer", "Transformers", "checked_transformers", "event_arun", "event_run")

if TYPE_CHECKING:
    Transformer = Callable[[tuple[str, ...]], StreamTransformer]
else:
    Transformer = Callable[[tuple[str, ...]], Any]
Transformers = Sequence[Transformer]
"""Each makes a stream transformer for a namespace: a class of transformers, or a function."""

_OWNED = ("stream_mode", "subgraphs")
"""Options of ``stream`` that the transformers decide."""


def checked_transformers(given: Transformers | None) -> tuple[Transformer, ...]:
    """Return stream transformers as a tuple.

    Raises:
        TypeError: One is an instance, or not callable: subgraphs need an instance of their own.
    """
    transformers = tuple(given or ())
    for transformer in transformers:
        if hasattr(transformer, "process") and not isinstance(transformer, type):
            raise TypeError(
                "stream_events(version='v3') transformers must be scope-aware callables, got "
                f"pre-built instance {type(transformer).__name__}. Pass the class, or a function "
                f"such as lambda scope: {type(transformer).__name__}(scope)"
            )
        if not callable(transformer):
            raise TypeError(
                "stream_events(version='v3') transformers must be scope-aware callables, got "
                f"{type(transformer).__name__}. Pass a class of stream transformers"
            )
    return transformers


def event_run(
    graph: Any,
    input: Any,
    config: Mapping[str, Any] | None,
    transformers: Transformers | None,
    options: Mapping[str, Any],
) -> GraphRunStream:
    """Return the event stream of a run. The run starts when a reader reads the stream.

    Args:
        graph: The compiled graph.
        input: As for ``stream``.
        config: As for ``stream``.
        transformers: Stream transformers of this call, applied after LangGraph's own and the
            graph's.
        options: Further options of ``stream``.

    Raises:
        MissingExtraError: LangGraph 1.2 or newer is not installed.
        TypeError: A transformer is an instance, or an option is set by transformers.
        ValueError: An argument of ``stream`` is invalid.
    """
    mux, call = _prepared(graph, input, config, transformers, options, is_async=False)
    from langgraph.stream import GraphRunStream

    return GraphRunStream(walk(graph._steps(call, is_async=False)), mux)


def event_arun(
    graph: Any,
    input: Any,
    config: Mapping[str, Any] | None,
    transformers: Transformers | None,
    options: Mapping[str, Any],
) -> AsyncGraphRunStream:
    """Async variant of ``event_run``."""
    mux, call = _prepared(graph, input, config, transformers, options, is_async=True)
    from langgraph.stream import AsyncGraphRunStream

    return AsyncGraphRunStream(awalk(graph._steps(call, is_async=True)), mux)


def _prepared(
    graph: Any,
    input: Any,
    config: Mapping[str, Any] | None,
    transformers: Transformers | None,
    options: Mapping[str, Any],
    *,
    is_async: bool,
) -> tuple[Any, Invocation]:
    """Return LangGraph's dispatcher of events to transformers, and the checked call."""
    owned = [name for name in _OWNED if name in options]
    if owned:
        raise TypeError(
            "stream_events(version='v3') and astream_events(version='v3') do not accept "
            f"{', '.join(owned)}: the transformers decide the modes, and subgraphs are always "
            "streamed"
        )
    own = (*checked_transformers(graph.stream_transformers), *checked_transformers(transformers))
    try:
        from langgraph.stream import LifecycleTransformer, SubgraphTransformer
        from langgraph.stream.transformers import MessagesTransformer, ValuesTransformer

        multiplexer = private("StreamMux")
    except ImportError as error:
        raise MissingExtraError(
            "stream_events(version='v3') needs LangGraph 1.2 or newer: "
            "pip install 'distgraph[agents]' 'langgraph>=1.2'"
        ) from error
    built_in = [ValuesTransformer, MessagesTransformer, LifecycleTransformer, SubgraphTransformer]
    ns = run_namespace(graph, config)
    mux = multiplexer(factories=[*built_in, *own], scope=ns, is_async=is_async)
    modes: dict[str, None] = {}
    for transformer in mux._transformers:
        modes.update(dict.fromkeys(getattr(transformer, "required_stream_modes", ())))
    arguments = {**options, "stream_mode": list(modes), "subgraphs": True, "version": "v2"}
    check_arguments("stream_events", arguments)
    call = graph._prepare(input, config, arguments, message_events=True, ns=ns, is_async=is_async)
    return mux, call
