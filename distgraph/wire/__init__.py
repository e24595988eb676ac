"""Framed messages between the processes of a session, over TCP, or a Unix socket on one machine.

A ``Listener`` accepts connections of processes that know the secret of its session; ``connect``
makes one. Both return a ``Connection``, which sends frames from any thread, within the credit that
the other side has given. One thread of a process serves all of its connections.
"""

from __future__ import annotations

from distgraph.wire.connection import Connection, ConnectionClosed, OnClosed, OnFrame
from distgraph.wire.dialing import Address, connect
from distgraph.wire.frames import Frame
from distgraph.wire.listener import Listener, check_room
from distgraph.wire.security import new_secret

__all__ = (
    "Address",
    "Connection",
    "ConnectionClosed",
    "Frame",
    "Listener",
    "OnClosed",
    "OnFrame",
    "check_room",
    "connect",
    "new_secret",
)
