"""The Ray backend: where distgraph's engine, log and attempt code run on a cluster.

A session is a superstep driver and a stream broker, both long-lived and shared by all runs of a
caller. Node attempts are Ray tasks, or coroutines of an executor on each machine.
"""

from __future__ import annotations

__all__ = ("StreamBroker", "SuperstepDriver", "end_session")

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "SuperstepDriver":
        from actors.driver import SuperstepDriver

        return SuperstepDriver
    if name == "StreamBroker":
        from actors.broker import StreamBroker

        return StreamBroker
    if name == "end_session":
        from actors.session import end

        return end
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
