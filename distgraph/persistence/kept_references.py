"""References to objects of a cluster, such as Ray's, in checkpoints and caches in memory.

A saver or a cache in memory keeps what its serializer returns. For a value with references that is
a pickle which holds them, so that an object lives as long as a checkpoint or an entry refers to it.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from distgraph._internal.loaded import loaded
from distgraph.concurrency.forking import free_in_forks
from distgraph.errors import SerializationError
from distgraph.serde import reducers
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import ReferringBlob

__all__ = ("keep_references", "keeps_references")

_KIND = "distgraph.references"

_lock = free_in_forks(threading.Lock())


def keeps_references(saver: Any) -> bool:
    """Whether a saver or a cache, or the one that it stands for, can keep references: it keeps
    what it is given in memory."""
    placed = getattr(saver, "distgraph_placed", None)
    if placed is not None:
        return bool(placed.traits.get("keeps_references"))
    serde = loaded("langgraph.checkpoint.serde.jsonplus", "JsonPlusSerializer")
    if serde is None or not any(cls and isinstance(saver, cls) for cls in _in_memory()):
        return False
    return isinstance(saver.serde, serde)


def _in_memory() -> tuple[Any, Any]:
    return (
        loaded("langgraph.checkpoint.memory", "InMemorySaver"),
        loaded("langgraph.cache.memory", "InMemoryCache"),
    )


def keep_references(saver: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Have a saver keep references, if there are any in the arguments of a call that failed.

    Returns whether the call may succeed now.
    """
    if not keeps_references(saver):
        return False
    _know_rays()
    try:
        if not isinstance(dumps_data((tuple(args), dict(kwargs))), ReferringBlob):
            return False
    except SerializationError:
        return False
    with _lock:
        cls: Any = type(saver.serde)
        if cls.__dict__.get("keeps_references"):
            return False
        serde = copy.copy(saver.serde)  # savers share the serializer of their class
        serde.__class__ = _keeping(cls)
        saver.serde = serde
    return True


def _know_rays() -> None:
    """Have Ray's references recognised in a process that uses Ray without its backend here."""
    for module, name in (("ray", "ObjectRef"), ("ray.actor", "ActorHandle")):
        cls = loaded(module, name)
        if cls is not None and not reducers.knows(cls):
            reducers.register_reference(cls)


@lru_cache(maxsize=16)
def _keeping(cls: type) -> type:
    base: Any = cls

    class KeepsReferences(base):  # type: ignore[misc]
        """A serializer whose results may hold references."""

        keeps_references = True

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            try:
                kind, data = super().dumps_typed(obj)
            except TypeError:
                blob = dumps_data(obj)
                if not isinstance(blob, ReferringBlob):
                    raise
                return _KIND, blob
            return kind, data

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return loads(data[1]) if data[0] == _KIND else super().loads_typed(data)

    KeepsReferences.__name__ = cls.__name__
    return KeepsReferences
