"""Functions for code inside a node: the node's config, stream writer and store.

The functions work in the node, in functions it calls, in coroutines, and in threads with a copied
context (``contextvars.copy_context().run``, ``asyncio.to_thread``, LangChain's executors). In other
threads they work in a chain or a tool of LangChain that was given the node's config.
"""

from __future__ import annotations

from typing import Any

from distgraph._internal.current import config_around, current_task
from distgraph.types import StreamWriter

__all__ = ("get_config", "get_store", "get_stream_writer")


def get_config() -> dict[str, Any]:
    """Return the current node's config: ``metadata``, ``tags``, ``configurable``, ``callbacks``, …

    In a chain or a tool of LangChain, it is the config of that. Raises ``RuntimeError`` outside of
    a run.
    """
    task = current_task("get_config")
    return config_around() or task.config


def get_stream_writer() -> StreamWriter:
    """Return the function that emits its argument in stream mode ``custom``.

    Where that mode is not streamed it does nothing. Raises ``RuntimeError`` outside of a run.
    """
    return current_task("get_stream_writer").writer


def get_store() -> Any:
    """Return the store that the graph was compiled with, None without one.

    Raises ``RuntimeError`` outside of a run.
    """
    return current_task("get_store").store
