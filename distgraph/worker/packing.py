"""Packing of attempts for a worker, and of outcomes for the driver.

Each version of a channel is pickled once, regardless of the number of tasks that read the channel
and of supersteps in which it does not change. Of a list that only grew, the items behind the
earlier version are pickled. A channel with a large pickle is passed by reference next to the
packet, so that a machine receives each version at most once.

Attempts of a packet have most of their fields in common: these are pickled together, without the
values of users. Each attempt has the values of users in pickles of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from distgraph._internal.records import given_fields
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, NodeFailure, Standing
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import Parcel
from distgraph.worker.list_parts import HELD_PART, GrowingList, Part
from distgraph.worker.snapshots import Snapshot

LARGE = HELD_PART
"""Bytes from which a worker keeps a channel's value, and is sent the value once."""

KEPT = 1024
"""Channel values of a run whose pickles are kept for its next tasks."""

_FIELDS = tuple(f.name for f in fields(AttemptRequest))
_INPUT, _STATE = _FIELDS.index("input"), _FIELDS.index("state")
_FAILED, _STANDING = _FIELDS.index("failed"), _FIELDS.index("standing")
_all_fields = attrgetter(*_FIELDS)

_outcome_fields = given_fields(AttemptOutcome, usual="cpu")

Put = Callable[[bytes], Any]
"""Stores a blob where workers can fetch it and returns the reference to it."""

PackedValue = bytes | int | list[bytes | int]
"""A channel's value: its pickle, or the position of the snapshot that holds the pickle. A list of
these: the pickles of consecutive parts of a list."""

PackedAttempt = tuple[bytes, dict[str, PackedValue]]
"""What a request has of users' values: a pickle, and the state."""

Head = list[Any]
"""The fields of a request, without the values of users."""


class _Values(NamedTuple):
    """Values of users in a request, where there are more than its input."""

    input: Any
    standing: Standing | None
    failed: NodeFailure | None


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
    heads: bytes
    """The pickled ``Head`` of each attempt, in a list."""
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
        """Pack the values of one request. References to large ones are appended to ``snapshots``.

        Raises:
            SerializationError: A state value, or the argument of a ``Send``, cannot be pickled.
        """
        state: dict[str, PackedValue] = {}
        for name, value in request.state.items():
            known = self._pickled(request, name, value, versions.get(name))
            packed = [_placed(part, snapshots) for part in known.parts]
            state[name] = packed[0] if known.growing is None else packed
        try:
            return dumps_data(_values(request)), state
        except SerializationError:
            require_packable(request)
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


def head_of(request: AttemptRequest) -> Head:
    """Return the fields of a request that are pickled with those of other requests."""
    head = list(_all_fields(request))
    head[_INPUT] = head[_STATE] = None
    if _has_values(request):
        head[_STANDING] = head[_FAILED] = None
    return head


def require_packable(request: AttemptRequest) -> None:
    """Pickle a request but for its state.

    Raises:
        SerializationError: A field cannot be pickled; names it.
    """
    dumps_data(replace(request, state={}))


def _has_values(request: AttemptRequest) -> bool:
    """Whether a request has values of users besides its input and its state."""
    standing = request.standing
    return request.failed is not None or (
        standing is not None
        and bool(standing.resume_values or standing.null_resume or standing.resume_map)
    )


def _values(request: AttemptRequest) -> Any:
    if _has_values(request):
        return _Values(request.input, request.standing, request.failed)
    return request.input


def unpack_request(
    head: Head,
    packed: PackedAttempt,
    snapshots: Sequence[Snapshot],
    items: Callable[[bytes | Parcel], list[Any]] = loads,
) -> AttemptRequest:
    """Rebuild a request: every attempt gets values of its own, so that none sees another's
    changes in place.

    Args:
        head: The fields without values of users.
        packed: Those.
        snapshots: Large state values.
        items: Returns the items of a pickled part of a list.
    """
    blob, state = packed
    given = head.copy()
    given[_STATE] = _unpack_state(state, snapshots, items) if state else {}
    values = loads(blob)
    if type(values) is _Values:
        values, given[_STANDING], given[_FAILED] = values
    given[_INPUT] = values
    return AttemptRequest(*given)


def _unpack_state(
    state: Mapping[str, PackedValue],
    snapshots: Sequence[Snapshot],
    items: Callable[[bytes | Parcel], list[Any]],
) -> dict[str, Any]:
    def whole(value: bytes | int) -> Any:
        return snapshots[value].load() if isinstance(value, int) else loads(value)

    def part(value: bytes | int) -> Any:
        return snapshots[value].load(items) if isinstance(value, int) else items(value)

    return {
        name: list(chain.from_iterable(map(part, value)))
        if isinstance(value, list)
        else whole(value)
        for name, value in state.items()
    }


def pack_outcome(outcome: AttemptOutcome) -> bytes:
    """Pickle an outcome.

    Raises:
        SerializationError: A value in it cannot be pickled.
    """
    return dumps_data(_outcome_fields(outcome))


def unpack_outcome(packed: bytes) -> AttemptOutcome:
    """Return a pickled outcome."""
    return AttemptOutcome(*loads(packed))
