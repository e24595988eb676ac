"""Calls of savers, stores and caches: from workers to the driver, and on to the caller.

The driver runs on the caller's machine. It opens what is a file or a server, and reaches objects of
the caller's process through that process's host. Workers ask the driver.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import ContextVar
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.cluster import NAMESPACE, driver_name
from actors.persistent import persistent
from distgraph.errors import DriverLost, RunError
from distgraph.persistence.hosting import HostClient, Ticket, answer, read_answer
from distgraph.persistence.opening import open_resource, set_reach
from distgraph.persistence.placed import Placed
from distgraph.persistence.remote_resources import Reach, pack_arguments
from distgraph.persistence.sync_or_async import call
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.serde.references import Parcel, parcel

_POLL = 0.02
"""Seconds between two polls of a response: a cancellation is noticed only between polls."""


class DriverStorage:
    """A driver's way to the savers, stores and caches of its session."""

    def __init__(self, session: str, ticket: Ticket) -> None:
        self.references = DriverReferences(session)
        self.reach = HostClient(ticket, session, self.references)
        set_reach(lambda: self.reach)

    def answer(self, packed: bytes) -> Any:
        """Call a method for a worker; returns what ``read_answer`` reads, as a Ray result."""
        return parcel(self._answer(packed))

    def _answer(self, packed: bytes) -> bytes:
        placed, method, arguments = loads(packed)
        if not self.reach.opens(placed):
            try:
                return self.reach.forward(placed, method, arguments)
            except RunError as error:
                return answer(partial(_raise, error))

        def carry_out() -> Any:
            args, kwargs = loads(arguments)
            return call(open_resource(placed, self.reach), method, args, kwargs)

        return answer(carry_out)


class DriverReferences:
    """References between a driver and its caller, which lie in the driver until they are taken."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._lying: dict[str, Sequence[Any]] = {}

    def give(self, to: str | None, references: Sequence[Any]) -> Any:
        """Lay references down for the caller."""
        name = secrets.token_hex(8)
        self._lying[name] = references
        return self._session, name

    def take(self, name: Any) -> Sequence[Any]:
        """Return the references that the caller has laid down here."""
        return self._lying.pop(name[1], ())

    def lay(self, name: str, parcel: Parcel) -> None:
        """Lay references down here, for the caller."""
        self._lying[name] = parcel.references

    def fetch(self, name: str) -> Parcel:
        """Return references that lie here, for the caller."""
        return Parcel(b"", self._lying.pop(name, ()))


class CallerReferences:
    """References between this process and the drivers of its sessions."""

    def give(self, to: str | None, references: Sequence[Any]) -> Any:
        """Lay references down in the driver of session ``to``."""
        name = secrets.token_hex(8)
        ray.get(_driver(str(to)).lay.remote(name, Parcel(b"", references)))
        return to, name

    def take(self, name: Any) -> Sequence[Any]:
        """Return references that lie in a driver."""
        session, own = name
        found: Parcel = ray.get(_driver(session).fetch.remote(own))
        return found.references


def _driver(session: str) -> Any:
    return ray.get_actor(driver_name(session), NAMESPACE)


def _raise(error: BaseException) -> None:
    raise error


class DriverReach(Reach):
    """A worker's way: by the driver of its session, but for servers that any machine reaches."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._driver: Any = None

    def opens(self, placed: Placed) -> bool:
        return placed.kind == "server" and placed.everywhere

    def __call__(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        asked = self._ask(placed, method, args, kwargs)
        while True:
            try:
                return read_answer(_unless_lost(asked, placed), placed.label)
            except (FutureTimeout, TimeoutError):
                if asked.done():
                    raise

    async def acall(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        asked = self._ask(placed, method, args, kwargs)
        await asyncio.wait([asyncio.wrap_future(asked)])
        return read_answer(_unless_lost(asked, placed), placed.label)

    def _ask(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Future[bytes]:
        if self._driver is None:
            try:
                self._driver = ray.get_actor(driver_name(self._session), NAMESPACE)
            except ValueError as error:
                raise _driver_lost(placed) from error
        arguments = pack_arguments(placed.label, method, args, kwargs)
        packed = dumps_parcel((placed, method, arguments))
        # not `ray.get`, which would give the CPU of the node that waits to another task
        return persistent(lambda: self._driver.storage.remote(packed))


def _unless_lost(asked: Future[bytes], placed: Placed) -> bytes:
    try:
        return asked.result(_POLL)
    except RayActorError as error:
        raise _driver_lost(placed) from error
    except RayError as error:
        raise RunError(f"{placed.label} cannot be reached by the driver: {error}") from error


def _driver_lost(placed: Placed) -> DriverLost:
    return DriverLost(f"{placed.label}: the superstep driver, by which it is reached, has died")


# --- in a worker --------------------------------------------------------------------------------

_session: ContextVar[str | None] = ContextVar("distgraph_session", default=None)
_last: list[str] = []
_reaches: dict[str, DriverReach] = {}


def enter(session: str) -> None:
    """Note whose attempt runs in this context."""
    if not _last:
        set_reach(_current)
    _last[:] = [session]
    _session.set(session)


def _current() -> Reach:
    """Return the reach of the current code's session; of the latest session if that is unknown."""
    session = _session.get() or _last[0]
    reach = _reaches.get(session)
    if reach is None:
        reach = _reaches[session] = DriverReach(session)
    return reach
