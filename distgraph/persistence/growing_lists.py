"""Lists of checkpoints that only grow, on their way to a saver of another process. Pure.

Of a list that a driver has sent before, it sends the items behind. The saver's process keeps the
items for a while, and gives the saver a whole list: a new one for each checkpoint, of the same
items, as LangGraph does. A saver that only serializes them gets them ready (``encoded_items``).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from distgraph.concurrency.timers import timers
from distgraph.persistence.encoded_items import SHORT, Encode, alike, settled

__all__ = ("ForgottenLists", "KeptLists", "SentLists", "ShortCheckpoint")

KEPT = 256
"""Lists that the process of a saver keeps at most."""

SECONDS = 10.0
"""For which it keeps a list that is not used."""


class ListTail(NamedTuple):
    """The end of a list."""

    key: str
    """Names the list."""
    kept: int
    """Items before, which the receiver has."""
    items: list[Any]


class ShortCheckpoint(NamedTuple):
    """A checkpoint without what its receiver has."""

    checkpoint: dict[str, Any]
    tails: dict[str, ListTail]
    """By channel."""


class ForgottenLists(NamedTuple):
    """The answer where the receiver no longer has what was sent: it is to be sent whole."""


class SentLists:
    """What of the lists of one run has been sent to its saver.

    Args:
        only_adds: Whether the reducer of a channel leaves the items of its list as they are, by
            the namespace of a checkpoint and the channel's name.
    """

    def __init__(self, only_adds: Callable[[str, str], bool]) -> None:
        self._only_adds = only_adds
        self._id = secrets.token_hex(8)
        self._count = 0
        self._sent: dict[tuple[str, str], tuple[str, list[Any]]] = {}

    def shortened(self, ns: str, checkpoint: Mapping[str, Any]) -> ShortCheckpoint | None:
        """Return a checkpoint for a receiver that has what was sent before. None: it is short.

        ``forget`` must follow where it does not arrive.
        """
        values = checkpoint["channel_values"]
        tails = {
            name: self._tail((ns, name), value)
            for name, value in values.items()
            if type(value) is list and len(value) > SHORT and self._only_adds(ns, name)
        }
        if not tails:
            return None
        return ShortCheckpoint(
            {**checkpoint, "channel_values": {**values, **dict.fromkeys(tails)}}, tails
        )

    def _tail(self, channel: tuple[str, str], value: list[Any]) -> ListTail:
        key, known = self._sent.get(channel) or (self._new_key(), [])
        kept = alike(known, value)
        self._sent[channel] = key, value[: settled(value, kept)]
        return ListTail(key, kept, value[kept:])

    def _new_key(self) -> str:
        self._count += 1
        return f"{self._id}:{self._count}"

    def forget(self) -> None:
        """Send all lists whole from now on."""
        self._sent.clear()


class KeptLists:
    """The lists that were received, in the process of a saver.

    Args:
        later: Makes a call after some seconds.
        clock: The time in seconds, monotonic.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later = later or timers().after
        self._clock = clock
        self._lock = threading.Lock()
        self._lists: OrderedDict[tuple[str, bool], tuple[list[Any], float]] = OrderedDict()
        """By name and whether they are ready for the saver. Each with the time of its last use,
        oldest first."""
        self._looking = False

    def completed(
        self, short: ShortCheckpoint, encode: Encode | None = None
    ) -> dict[str, Any] | None:
        """Return the whole checkpoint, None where something of it is not here any more.

        ``encode`` makes items ready for the saver.
        """
        values = short.checkpoint["channel_values"]
        with self._lock:
            now = self._clock()
            for name, (key, kept, items) in short.tails.items():
                place = key, encode is not None
                known, _ = self._lists.pop(place, ([], now))
                if len(known) < kept:
                    return None
                whole = [*known[:kept], *(items if encode is None else map(encode, items))]
                self._lists[place] = whole, now
                values[name] = list(whole)
            while len(self._lists) > KEPT:
                self._lists.popitem(last=False)
            if not self._looking:
                self._looking = True
                self._later(SECONDS, self._look)
        return short.checkpoint

    def _look(self) -> None:
        """Drop lists that are not used."""
        with self._lock:
            now = self._clock()
            while self._lists and now - next(iter(self._lists.values()))[1] >= SECONDS:
                self._lists.popitem(last=False)
            self._looking = bool(self._lists)
            if self._lists:
                oldest = next(iter(self._lists.values()))[1]
                self._later(oldest + SECONDS - now, self._look)
