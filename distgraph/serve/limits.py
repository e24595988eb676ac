"""Bounds on what one client may ask of the server: size of a request, and requests per minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from distgraph._internal.settings import setting
from distgraph.serve.errors import ProjectError

__all__ = ("VARIABLES", "Limits", "RequestRate")

VARIABLES = ("DISTGRAPH_MAX_BODY_BYTES", "DISTGRAPH_REQUESTS_PER_MINUTE")
"""Environment variables of the bounds."""

MAX_BODY = 64 * 1024 * 1024
"""Default of ``Limits.max_body``, in bytes: an input may contain images in base64."""

_CLIENTS = 10_000
"""Clients whose rate is known; the one that was seen longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for each client of one server process."""

    max_body: int = MAX_BODY
    """Bytes of one request, or of one WebSocket message."""
    requests_per_minute: int | None = None
    """Requests of one user or, without authentication, of one host. None: no bound."""

    @classmethod
    def from_environment(cls) -> Limits:
        """Read ``DISTGRAPH_MAX_BODY_BYTES`` and ``DISTGRAPH_REQUESTS_PER_MINUTE``.

        Raises:
            ProjectError: A value is no whole number above 0.
        """
        a_minute: int | None = None
        try:
            return cls(setting(VARIABLES[0], MAX_BODY), setting(VARIABLES[1], a_minute))
        except ValueError as error:
            raise ProjectError(str(error)) from None


class RequestRate:
    """Counts the requests of clients: each may make a minute's requests at once, not more.

    Args:
        per_minute: Requests a minute; None for no bound.
        clock: Seconds, increasing.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What each client has left, and when that was."""

    def take(self, client: str) -> float:
        """Count a request; return the seconds until the client may make it, 0 for now."""
        if self._per_minute is None:
            return 0.0
        now = self._clock()
        left, at = self._clients.pop(client, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self._per_minute
        self._clients[client] = (left - 1 if wait == 0 else left, now)
        if len(self._clients) > _CLIENTS:
            self._clients.popitem(last=False)
        return wait
