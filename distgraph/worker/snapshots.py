"""Large values of the state in a worker, each read by many attempts. Pure.

Every attempt has to get objects of its own: it may change them in place, and no other attempt may
see that. Most large values are unpickled for each attempt. Texts, bytes, and containers that hold
nothing else are unpickled once: nobody can change a text, and a copy of its container will do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel

__all__ = ("Snapshot",)

_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})
"""Classes whose objects cannot be changed. Objects of a subclass can."""

_COPIES: dict[type, Callable[[Any], Any]] = {
    list: list.copy,
    dict: dict.copy,
    set: set.copy,
    tuple: lambda value: value,
    frozenset: lambda value: value,
}
"""What makes a container of an attempt's own."""

_LEAST = 64
"""Bytes of the pickle for each item, on average, from which items are kept unpickled. Smaller ones
take several times that in memory, beside the limit of what a worker keeps."""


class Snapshot:
    """A value of the state: its pickle, or the value itself where attempts cannot change it.

    Any thread may use it.

    Args:
        blob: Its pickle, a ``Parcel`` where it holds references. A part of a frame is not copied
            where it is most of the frame.
    """

    __slots__ = ("_blob", "_kept")

    def __init__(self, blob: bytes | memoryview | Parcel) -> None:
        if isinstance(blob, memoryview) and 2 * len(blob) < memoryview(blob.obj).nbytes:
            blob = bytes(blob)  # what it is a part of would stay in memory with it
        self._blob: bytes | memoryview | Parcel | None = blob
        self._kept: tuple[Any, Callable[[Any], Any]] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the value itself is kept, in place of its pickle."""
        return self._blob is None

    def load(self, read: Callable[[bytes | Parcel], Any] | None = None) -> Any:
        """Return the value, in objects of the caller's own.

        Args:
            read: Unpickles it, if it has to be.
        """
        blob = self._blob
        if blob is None:
            assert self._kept is not None
            value, copy = self._kept
            return copy(value)
        if isinstance(blob, Parcel):  # references are not to be kept: they keep their objects
            return loads(blob) if read is None else read(blob)
        value = loads(blob) if read is None else read(bytes(blob))
        copier = _copier(value, len(blob))
        if copier is None:
            return value
        self._kept = value, copier
        self._blob = None
        return copier(value)


def _copier(value: Any, size: int) -> Callable[[Any], Any] | None:
    """Return what makes a value of an attempt's own of ``value``, None if only unpickling does."""
    cls = type(value)
    if cls in _ATOMS:
        return lambda value: value
    copier = _COPIES.get(cls)
    if copier is None or len(value) * _LEAST > size:
        return None
    if cls is dict and not _ATOMS.issuperset(map(type, value.values())):
        return None
    return copier if _ATOMS.issuperset(map(type, value)) else None
