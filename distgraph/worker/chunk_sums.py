"""The sum of what a generator yields, as LangChain makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

__all__ = ("sum_of", "sum_of_async")


def sum_of(chunks: Iterator[Any]) -> Any:
    """Return the sum of all chunks, or the last one where chunks cannot be added."""
    total: Any = None
    for chunk in chunks:
        total = _added(total, chunk)
    return total


async def sum_of_async(chunks: AsyncIterator[Any]) -> Any:
    """Return the same for an asynchronous iterator."""
    total: Any = None
    async for chunk in chunks:
        total = _added(total, chunk)
    return total


def _added(total: Any, chunk: Any) -> Any:
    if total is None:
        return chunk
    try:
        return total + chunk
    except TypeError:
        return chunk
