"""Which process ran what: nodes and tools say it in custom data, and the caller sums it up."""

from __future__ import annotations

import os
import socket
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from distgraph.config import get_stream_writer


def tell(what: str, about: object = "", **more: Any) -> None:
    """Write from inside a node or a tool that this process works on ``about``."""
    where = {"pid": os.getpid(), "host": socket.gethostname()}
    get_stream_writer()({"what": what, "about": str(about), **more, **where})


class WhoRan:
    """Collects what ``tell`` wrote."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, str, str]] = set()

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event; several about the same piece of work count as one."""
        self._seen.add((event["host"], event["pid"], event["what"], event["about"]))

    def show(self) -> None:
        """Print a line for each process."""
        work: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for host, pid, what, _ in self._seen:
            work[host, pid][what] += 1
        print(f"\nWho ran what (the caller is process {os.getpid()}):")
        for (host, pid), counts in sorted(work.items()):
            done = ", ".join(f"{what} ×{count}" for what, count in sorted(counts.items()))
            print(f"  process {pid} on {host}: {done}")
