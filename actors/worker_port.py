"""The port on which the worker processes of a session connect to its driver."""

from __future__ import annotations

import pickle
from typing import Protocol

from actors.call_frames import CALL, CALLS
from actors.cluster import node_address
from actors.lease_frames import WorkerTicket
from distgraph.contract.heartbeats import HEARTBEAT
from distgraph.wire import Connection, Frame, Listener, new_secret
from distgraph.wire.loop import Loop

__all__ = ("Served", "WorkerPort")


class Served(Protocol):
    """Takes connections of one role. It is called on the thread of the wire, and must not wait."""

    def opened(self, connection: Connection) -> None:
        """Take a connection, before any of its frames."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a frame."""

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """Note the end of a connection."""


class WorkerPort:
    """Accepts connections of a session's worker processes.

    Args:
        session: Id of the session.
    """

    def __init__(self, session: str) -> None:
        secret = new_secret()
        self._roles: dict[str, Served] = {}
        self._listener = Listener(
            node_address(),
            secret,
            on_open=self._open,
            on_frame=self._receive,
            on_closed=self._end,
            lines=(HEARTBEAT,),
        )
        host, number, local = self._listener.address
        self.ticket = pickle.dumps(tuple(WorkerTicket((host, number, local), secret, session)), 5)
        """What a worker process needs to connect, for ``WorkerTicket.read``."""

    @property
    def loop(self) -> Loop:
        """Serves the connections."""
        return self._listener.loop

    def serve(self, role: str, served: Served) -> None:
        """Let connections of a role be served. Before the ticket goes to workers of that role."""
        self._roles[role] = served

    def _open(self, connection: Connection) -> None:
        served = self._roles.get(connection.peer.role)
        if served is None:
            connection.close()
        else:
            served.opened(connection)

    def _receive(self, connection: Connection, frame: Frame) -> None:
        role = CALLS if frame.kind == CALL else connection.peer.role
        self._roles[role].received(connection, frame)

    def _end(self, connection: Connection, error: BaseException | None) -> None:
        served = self._roles.get(connection.peer.role)
        if served is not None:
            served.ended(connection, error)
