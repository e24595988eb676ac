"""Messages that a worker keeps unpickled: it unpickles of a list that grew what is new. Pure.

An attempt may change its messages in place, and no other attempt may see that. So a worker keeps,
beside the messages, a copy of all that they hold. Later attempts are given the messages as long as
they equal the copy, which costs a tenth of unpickling them. No two attempts have them at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from operator import attrgetter
from typing import Any

from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel

__all__ = ("KeptMessages", "Loan")

KEPT_BYTES = 8 << 20
"""Bytes of pickles whose messages a process keeps. In memory, messages take several times that."""

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})

_state = attrgetter("__dict__", "__pydantic_fields_set__", "__pydantic_extra__")
"""Returns all that a message of LangChain holds."""

_Copies = list[Any]
"""What messages held when they were unpickled."""


class KeptMessages:
    """The messages of pickles that were used last. Any thread may use it.

    Args:
        limit: Most bytes of the pickles.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[list[Any], _Copies]] = OrderedDict()

    def take(self, blob: bytes) -> tuple[list[Any], _Copies] | None:
        """Return the messages of a pickle and the copies of them, which are not kept then.

        None: they are not here, or were changed.
        """
        with self._lock:
            found = self._kept.pop(blob, None)
            if found is None:
                return None
            self._bytes -= len(blob)
        try:
            return found if list(map(_state, found[0])) == found[1] else None
        except Exception:  # what was put into a message cannot be compared
            return None

    def put(self, blob: bytes, messages: list[Any], copies: _Copies) -> None:
        """Keep the messages of a pickle. Those that were not used for longest are dropped."""
        with self._lock:
            if self._kept.pop(blob, None) is None:
                self._bytes += len(blob)
            self._kept[blob] = messages, copies
            while self._bytes > self._limit:
                dropped, _ = self._kept.popitem(last=False)
                self._bytes -= len(dropped)


class Loan:
    """The messages that one attempt is given.

    Args:
        kept: Where they are taken from.
    """

    def __init__(self, kept: KeptMessages) -> None:
        self._kept = kept
        self._lent: list[tuple[bytes, list[Any], _Copies]] = []

    def items(self, blob: bytes | Parcel) -> list[Any]:
        """Return the items of a pickled list. The list itself is not to be changed."""
        if type(blob) is not bytes:  # it refers to objects that are not to be kept
            return list(loads(blob))
        found = self._kept.take(blob)
        if found is None:
            items: list[Any] = loads(blob)
            copies = _copies(items)
            if copies is None:
                return items
            found = items, copies
        self._lent.append((blob, *found))
        return found[0]

    def end(self) -> None:
        """Give everything back: no code of the attempt is left that may use it."""
        for lent in self._lent:
            self._kept.put(*lent)
        self._lent.clear()


def _copies(items: list[Any]) -> _Copies | None:
    """Return copies of all that messages hold, None if an item may change in ways not seen."""
    modules = {cls.__module__ for cls in set(map(type, items))}
    if not all(module.startswith("langchain_core.messages.") for module in modules):
        return None
    try:
        return [
            (_copy(held), set(given), _copy(extra)) for held, given, extra in map(_state, items)
        ]
    except _Unknown:
        return None


class _Unknown(Exception):
    """A value of which no copy is made."""


def _copy(value: Any) -> Any:
    cls = type(value)
    if cls in _ATOMS:
        return value
    if cls not in _CONTAINERS:
        raise _Unknown
    if not value:
        return cls()
    if cls is not dict:
        return cls(item if type(item) in _ATOMS else _copy(item) for item in value)
    if not _ATOMS.issuperset(map(type, value)):
        raise _Unknown
    return {key: item if type(item) in _ATOMS else _copy(item) for key, item in value.items()}
