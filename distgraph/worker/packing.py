"""Packing of attempts for a worker, and of outcomes for the driver.

Each version of a channel is pickled once, regardless of the number of tasks that read the channel
and of supersteps in which it does not change. A channel with a large pickle is passed by reference
next to the packet, so that a machine receives each version at most once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, NamedTuple

from distgraph.contract.attempt import AttemptRequest
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data, loads

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


class Packet(NamedTuple):
    """A group of attempts of one run, packed for a worker."""

    version: str
    """Version of distgraph in the driver's process."""
    session: str
    program: str
    """Hash of the graph's program."""
    run: bytes
    """Pickled ``RunInfo``."""
    attempts: list[tuple[bytes, dict[str, bytes | int]]]
    """Pickled requests without their state, and the state: blobs, or positions of snapshots."""
    names: tuple[str, ...]
    """Names of the groups in heartbeats: one for all attempts, or in an executor one for each."""


class StatePacker:
    """Pickles the state of one run's channels, once a version.

    Args:
        put: Stores a large blob.
        large: Size from which a blob is large, in bytes.
    """

    def __init__(self, put: Put, large: int = LARGE) -> None:
        self._put = put
        self._large = large
        self._known: OrderedDict[tuple[tuple[str, ...], str], tuple[Any, bytes | None, Any]] = (
            OrderedDict()
        )

    def pack(
        self, request: AttemptRequest, versions: Mapping[str, Any], snapshots: list[Any]
    ) -> tuple[bytes, dict[str, bytes | int]]:
        """Pack one request. References to large values are appended to ``snapshots``.

        Raises:
            SerializationError: A state value, or the argument of a ``Send``, cannot be pickled.
        """
        state: dict[str, bytes | int] = {}
        for name, value in request.state.items():
            blob, reference = self._blob(request, name, value, versions.get(name))
            if blob is not None:
                state[name] = blob
                continue
            at = next((i for i, known in enumerate(snapshots) if known is reference), None)
            if at is None:
                at = len(snapshots)
                snapshots.append(reference)
            state[name] = at
        try:
            return dumps_data(_without_state(request)), state
        except SerializationError:
            dumps_data(replace(request, state={}))  # its error names the field
            raise

    def _blob(
        self, request: AttemptRequest, name: str, value: Any, version: Any
    ) -> tuple[bytes | None, Any]:
        key = (request.ns, name)
        known = self._known.get(key)
        if known is not None and version is not None and known[0] == version:
            self._known.move_to_end(key)
            return known[1], known[2]
        blob: bytes | None = dumps_data(value, name=f'state["{name}"]')
        reference = None
        assert blob is not None
        if len(blob) >= self._large:
            reference, blob = self._put(blob), None
        if version is not None:
            self._known[key] = (version, blob, reference)
            self._known.move_to_end(key)
            if len(self._known) > KEPT:  # a run may go through any number of subgraphs
                self._known.popitem(last=False)
        return blob, reference


def unpack_request(
    packed: tuple[bytes, dict[str, bytes | int]], snapshots: Sequence[bytes]
) -> AttemptRequest:
    """Rebuild a request: every attempt gets objects of its own, so that none sees another's
    changes in place."""
    blob, state = packed
    told = loads(blob)
    values = {
        name: loads(snapshots[item] if isinstance(item, int) else item)
        for name, item in state.items()
    }
    given: list[Any] = [*told[:_STATE], values, *told[_STATE:]]
    return AttemptRequest(*given)
