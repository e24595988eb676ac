"""A node's writers: read for what they say about the graph, so that the driver needs none of them.

The writers of a node without a conditional edge are plain rules; distgraph writers with the same
rules replace them, also on the driver. With a conditional edge, LangGraph's writers run on a
worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph.constants import START
from distgraph.contract.spec import Write, Writer
from distgraph.graph.writes import EdgeWriter, StateWriter
from distgraph.langgraphs.node_program import NodeWriter
from distgraph.langgraphs.vocabulary import private
from distgraph.worker.runnable_forms import async_only, has_async_form

__all__ = ("branch_channels", "own_writers", "worker_writers")

_RULES = frozenset({"_get_root", "_get_updates", "_control_branch"})


def own_writers(graph: Any, name: str) -> tuple[Writer, ...] | None:
    """Return distgraph writers with the node's rules; None if it has a conditional edge."""
    write, entry_class = private("ChannelWrite"), private("ChannelWriteEntry")
    passthrough = private("PASSTHROUGH")
    builder = getattr(graph, "builder", None)
    if builder is None:
        return None
    static: list[Write] = []
    rules: set[str] = set()
    for writer in graph.nodes[name].flat_writers:
        if type(writer) is not write:
            return None
        for entry in writer.writes:
            if isinstance(entry, entry_class):
                if entry.value is passthrough or entry.mapper is not None or entry.skip_none:
                    return None
                static.append((entry.channel, entry.value))
            elif (rule := _rule(entry)) is not None:
                rules.add(rule)
            else:
                return None
    if "_control_branch" not in rules or len(rules) != 2:
        return None
    writers: list[Writer] = [StateWriter(name, _written(builder, name))]
    if static:
        writers.append(EdgeWriter(tuple(static)))
    return tuple(writers)


def _rule(entry: Any) -> str | None:
    mapper: Any = getattr(entry, "mapper", None)
    if getattr(mapper, "__module__", "") != "langgraph.graph.state":
        return None
    name = getattr(mapper, "__name__", "")
    return name if name in _RULES else None


def _written(builder: Any, name: str) -> tuple[str, ...]:
    """Return the state keys that a node may write."""
    if name == START:
        keys = builder.schemas[builder.input_schema]
        return tuple(key for key in keys if key not in builder.managed)
    return (*builder.channels, *builder.managed)


def worker_writers(writers: Sequence[Any]) -> tuple[NodeWriter, ...]:
    """Return the writers of a node that run next to it."""
    return tuple(map(_worker_writer, writers))


def _worker_writer(writer: Any) -> NodeWriter:
    path = _path(writer)
    is_async = async_only(path or writer)
    both = path is not None and not is_async and has_async_form(path)
    return NodeWriter(_branch_name(writer), writer, is_async, both)


def _branch(writer: Any) -> Any:
    """Return the conditional edge that a writer runs, None where it is none."""
    found = getattr(getattr(writer, "func", None), "__self__", None)
    return found if hasattr(found, "path") and hasattr(found, "ends") else None


def _path(writer: Any) -> Any:
    return getattr(_branch(writer), "path", None)


def _branch_name(writer: Any) -> str | None:
    path = _path(writer)
    return None if path is None else str(getattr(path, "name", None) or "condition")


def branch_channels(writers: Sequence[Any], known: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that a node's conditional edges read; ``known`` if that is not
    determinable."""
    write = private("ChannelWrite")
    keys: dict[str, None] = {}
    for writer in writers:
        if isinstance(writer, write):
            continue
        select = None
        if _branch(writer) is not None:
            reader = writer.kwargs.get("reader")
            if reader is None:
                continue
            select = getattr(reader, "keywords", {}).get("select")
        if select is None:
            return tuple(known)
        keys.update(dict.fromkeys((select,) if isinstance(select, str) else select))
    return tuple(keys)
