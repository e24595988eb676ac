"""Packing of attempts for a worker, and of outcomes for the driver.

Each version of a channel is pickled once, regardless of the number of tasks that read the channel
and of supersteps in which it does not change. Of a list that only grew, the items behind the
earlier version are pickled. A channel with a large pickle is passed by reference next to the
packet, so that a machine receives each version at most once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from distgraph.contract.attempt import AttemptRequest
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import Parcel
from distgraph.worker.list_parts import GrowingList, Part
from distgraph.worker.snapshots import Snapshot

LARGE = 100_000
"""Bytes from which a channel's value travels by reference: below, inline is cheaper on Ray."""

KEPT = 1024
"""Channel values of a run whose pickles are kept for its next tasks."""

_FIELDS = tuple(f.name for f in fields(AttemptRequest))
_STATE = _FIELDS.index("state")
_without_state = attrgetter(*(name for name in _FIELDS if name != "state"))
"""Returns the fields of a request, as a tuple, except its state."""

Put = Callable[[bytes], Any]
"""Stores a blob where workers can fetch it and returns the reference to it."""

PackedValue = bytes | int | list[bytes | int]
"""A channel's value: its pickle, or the position of the snapshot that holds the pickle. A list of
these: the pickles of consecutive parts of a list."""

PackedAttempt = tuple[bytes, dict[str, PackedValue]]
"""A pickled request without its state, and the state."""


class _Known(NamedTuple):
    """A version of a channel that was pickled."""

    version: Any
    parts: tuple[Part, ...]
    growing: GrowingList | None
    """Set where the value is a list whose next version may follow this one."""


class Packet(NamedTuple):
    """A group of attempts of one run, packed for a worker."""

    version: str
    """Version of distgraph in the driver's process."""
    session: str
    program: str
    """Hash of the graph's program."""
    run: bytes
    """Pickled ``RunInfo``."""
    attempts: list[PackedAttempt]
    names: tuple[str, ...]
    """Names of the groups in heartbeats: one for all attempts, or in an executor one for each."""


class StatePacker:
    """Pickles the state of one run's channels, once a version.

    Args:
        put: Stores a large blob.
        large: Size from which a blob is large, in bytes.
        keeps_items: Whether the reducer of a request's channel leaves the items of its list as they
            are.
    """

    def __init__(
        self,
        put: Put,
        large: int = LARGE,
        keeps_items: Callable[[AttemptRequest, str], bool] = lambda request, name: False,
    ) -> None:
        self._put = put
        self._large = large
        self._keeps_items = keeps_items
        self._known: OrderedDict[tuple[tuple[str, ...], str], _Known] = OrderedDict()

    def pack(
        self, request: AttemptRequest, versions: Mapping[str, Any], snapshots: list[Any]
    ) -> PackedAttempt:
        """Pack one request. References to large values are appended to ``snapshots``.

        Raises:
            SerializationError: A state value, or the argument of a ``Send``, cannot be pickled.
        """
        state: dict[str, PackedValue] = {}
        for name, value in request.state.items():
            known = self._pickled(request, name, value, versions.get(name))
            packed = [_placed(part, snapshots) for part in known.parts]
            state[name] = packed[0] if known.growing is None else packed
        try:
            return dumps_data(_without_state(request)), state
        except SerializationError:
            dumps_data(replace(request, state={}))  # its error names the field
            raise

    def _pickled(self, request: AttemptRequest, name: str, value: Any, version: Any) -> _Known:
        key = (request.ns, name)
        known = self._known.get(key)
        if known is not None and version is not None and known.version == version:
            self._known.move_to_end(key)
            return known
        growing = None if known is None else known.growing
        if version is None or type(value) is not list or not self._keeps_items(request, name):
            growing = None
        elif growing is None:
            growing = GrowingList(dumps_data, self._put, self._large)
        known = _Known(version, self._parts(growing, name, value), growing)
        if version is not None:
            self._known[key] = known
            self._known.move_to_end(key)
            if len(self._known) > KEPT:  # a run may go through any number of subgraphs
                self._known.popitem(last=False)
        return known

    def _parts(self, growing: GrowingList | None, name: str, value: Any) -> tuple[Part, ...]:
        if growing is not None:
            try:
                return growing.update(value)
            except SerializationError:
                dumps_data(value, name=f'state["{name}"]')  # its error counts all items
                raise
        blob = dumps_data(value, name=f'state["{name}"]')
        if len(blob) >= self._large:
            return (Part(1, None, self._put(blob)),)
        return (Part(1, blob),)


def _placed(part: Part, snapshots: list[Any]) -> bytes | int:
    """Return a part as it stands in a packet: by position, if a reference stands for it."""
    if part.blob is not None:
        return part.blob
    at = next((i for i, known in enumerate(snapshots) if known is part.reference), None)
    if at is None:
        at = len(snapshots)
        snapshots.append(part.reference)
    return at


def unpack_request(
    packed: PackedAttempt,
    snapshots: Sequence[Snapshot],
    items: Callable[[bytes | Parcel], list[Any]] = loads,
) -> AttemptRequest:
    """Rebuild a request: every attempt gets objects of its own, so that none sees another's
    changes in place.

    Args:
        packed: The request.
        snapshots: Large state values.
        items: Returns the items of a pickled part of a list.
    """
    blob, state = packed
    told = loads(blob)

    def whole(value: bytes | int) -> Any:
        return snapshots[value].load() if isinstance(value, int) else loads(value)

    def part(value: bytes | int) -> Any:
        return snapshots[value].load(items) if isinstance(value, int) else items(value)

    values = {
        name: list(chain.from_iterable(map(part, value)))
        if isinstance(value, list)
        else whole(value)
        for name, value in state.items()
    }
    given: list[Any] = [*told[:_STATE], values, *told[_STATE:]]
    return AttemptRequest(*given)
