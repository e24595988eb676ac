"""What a run hands to leases and executors: groups of attempts, their needs, their large values."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray

from distgraph.driver.leases import TASKS, LeaseTerms
from distgraph.serde.references import Parcel, parcel
from distgraph.worker.held_values import KEPT_BYTES

__all__ = ("GroupFailed", "LargeValue", "LeasedGroup", "Needs", "by_wire", "needs_of")

_numbers = itertools.count(1)


class GroupFailed(Exception):
    """A worker could not run a group at all. ``__cause__`` says why."""


class LargeValue:
    """A large value of a run's state, which travels to each worker once."""

    def __init__(self, blob: bytes) -> None:
        self.number = next(_numbers)
        self._blob: bytes | None = blob
        self._reference: Any = None

    @property
    def blob(self) -> bytes | None:
        """The bytes, if they may travel over the wire."""
        blob = self._blob
        fits = blob is not None and type(blob) is bytes and len(blob) <= KEPT_BYTES
        return blob if fits else None

    def reference(self) -> Any:
        """Return a reference to the value in Ray's object store."""
        if self._reference is None:
            assert self._blob is not None
            self._reference = ray.put(parcel(self._blob))
            self._blob = None
        return self._reference


class Needs(NamedTuple):
    """What a lease has to have."""

    key: Hashable
    options: Mapping[str, Any]
    terms: LeaseTerms = TASKS
    """``TASKS``: each lease is a Ray task. Otherwise it is an actor, whose process is its own."""


def needs_of(options: Mapping[str, Any]) -> Needs:
    """Return the needs that options of ``ray.remote`` name. Equal options have an equal key."""
    try:
        key = pickle.dumps(_ordered(options))
    except Exception:  # an option that is not plain: leases for these options alone
        key = b"%d" % id(options)
    return Needs(key, options)


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(key, _ordered(value[key])) for key in sorted(value)]
    return value


@dataclass(eq=False, slots=True)
class LeasedGroup:
    """A group of attempts that a lease serves."""

    needs: Needs
    name: str
    """Name of the group, for cancels and time limits."""
    owner: str
    """The run."""
    label: str
    program: str
    """Hash of the graph's program."""
    packed: Any
    """The packet: bytes, or a ``Parcel`` if it holds references."""
    values: Sequence[LargeValue]
    done: Callable[[Any, BaseException | None], None]
    """Takes the packed outcomes, or why there are none, or neither: it was cancelled."""
    recalled: Callable[[Any, int], None]
    """Takes packed outcomes of attempts that have ended, and the position of the first attempt that
    is given back. ``done`` follows, with the outcomes of the others."""
    attempts: int = 1
    """Attempts of the group."""
    number: int = field(default_factory=lambda: next(_numbers))


def by_wire(packed: Any, values: Sequence[LargeValue]) -> dict[int, bytes] | None:
    """Return the large values of a packet by number. None: Ray has to carry the packet."""
    blobs: dict[int, bytes] = {}
    for value in values:
        blob = value.blob
        if blob is None:
            return None
        blobs[value.number] = blob
    return None if isinstance(packed, Parcel) else blobs
