"""Messages between worker processes and drivers beside attempts and outcomes: that a process lives,
what it runs, what is to end.

The messages are lines of JSON on a connection that the worker opens. A line that is no JSON belongs
to a dump of Python stacks: ``faulthandler`` writes it in C, also while the node's code holds the
interpreter lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ("ASKS", "BEAT", "HEARTBEAT", "LEAVES", "SILENT", "decode", "encode")

ASKS = b'{"asks":'
"""Begin of the line by which a task asks whether it may run its group of attempts."""

LEAVES = b',"leaves":true}'
"""End of the line by which a process asks whether it may run something else."""

HEARTBEAT = "heartbeat"
"""Role of the connections that carry heartbeats."""

BEAT = 1.0
"""Seconds between two heartbeats of a worker process that runs something."""

SILENT = 5.0
"""Seconds without a heartbeat after which a process is reported as silent. A process whose code
holds the interpreter lock sends its Python stacks as often."""


def encode(**message: Any) -> bytes:
    """Return a message as a line, without its end."""
    return json.dumps(message, separators=(",", ":")).encode()


def decode(line: bytes) -> Mapping[str, Any] | None:
    """Return the message of a line, None for a line of a stack dump."""
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
