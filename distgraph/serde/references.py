"""References to objects that live elsewhere, such as those in Ray's object store.

A pickle cannot hold one: the system that counts such references must see each of them travel. They
are taken out of a pickle and put beside it, in a ``ReferringBlob``. A process that passes it on
through the system's own calls keeps the objects alive. This module knows of no system: the Ray
backend registers its classes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from distgraph.errors import SerializationError

__all__ = ("Parcel", "ReferringBlob", "collected", "note_staying", "parcel", "reading", "staying")


class ReferringBlob(bytes):
    """A pickle, and the references that stood in it."""

    references: tuple[Any, ...]

    def __new__(cls, blob: bytes, references: Sequence[Any]) -> ReferringBlob:
        made = super().__new__(cls, blob)
        made.references = tuple(references)
        return made


class Parcel:
    """A ``ReferringBlob`` on its way through calls of the system, which take bytes as they are."""

    __slots__ = ("blob", "references")

    def __init__(self, blob: bytes, references: Sequence[Any]) -> None:
        self.blob = blob
        self.references = references

    def __reduce__(self) -> Any:
        return Parcel, (self.blob, self.references)


def parcel(blob: bytes) -> Any:
    """Return the argument or result of a Ray call for a pickle."""
    return Parcel(bytes(blob), blob.references) if isinstance(blob, ReferringBlob) else blob


class _Current(threading.local):
    found: list[Any] | None = None
    """References in what is written just now."""
    staying: list[str] | None = None
    """Names of objects that stay in this process, in what is written just now."""
    given: Sequence[Any] = ()
    """References for what is read just now."""


here = _Current()
"""What this thread writes and reads just now."""


class collected:
    """Collects the references in what is written while it is entered."""

    def __enter__(self) -> list[Any]:
        self._around, here.found = here.found, []
        return here.found

    def __exit__(self, *exc_info: object) -> None:
        here.found = self._around


class staying:
    """Collects the names of objects that stay in this process, in what is written while it is
    entered: what is written holds the way to them only."""

    def __enter__(self) -> list[str]:
        self._around, here.staying = here.staying, []
        return here.staying

    def __exit__(self, *exc_info: object) -> None:
        here.staying = self._around


def note_staying(name: str) -> None:
    """Note an object that stays in this process."""
    if here.staying is not None:
        here.staying.append(name)


class reading:
    """Gives what is read while it is entered its references."""

    def __init__(self, blob: object) -> None:
        self._given = blob.references if isinstance(blob, ReferringBlob) else ()

    def __enter__(self) -> None:
        self._around, here.given = here.given, self._given

    def __exit__(self, *exc_info: object) -> None:
        here.given = self._around


def refer(obj: Any) -> Any:
    """Reduce a reference."""
    return _referred, (_number(obj), type(obj).__name__)


def lift(blob: ReferringBlob) -> Any:
    """Reduce a pickle with references that is part of another pickle."""
    return _lifted, (bytes(blob), tuple((_number(r), type(r).__name__) for r in blob.references))


def _number(obj: Any) -> int:
    found = here.found
    if found is None:
        raise SerializationError(
            f"a reference ({type(obj).__name__}) cannot leave the cluster that it belongs to"
        )
    found.append(obj)
    return len(found) - 1


def _referred(number: int, name: str) -> Any:
    if number >= len(here.given):
        raise SerializationError(
            f"a reference ({name}) was saved or sent outside of the cluster that it belongs to, "
            "and what it refers to cannot be reached from here. Use the value itself, or the path "
            "of a file"
        )
    return here.given[number]


def _lifted(blob: bytes, references: Sequence[tuple[int, str]]) -> ReferringBlob:
    return ReferringBlob(blob, [_referred(*reference) for reference in references])
