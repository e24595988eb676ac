"""The Ray backend: where distgraph's engine, log and attempt code run on a cluster.

A session is a superstep driver and a stream broker, both long-lived and shared by all runs of a
caller. Node attempts are Ray tasks, or coroutines of an executor on each machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distgraph._internal.lazy import lazy_names

if TYPE_CHECKING:
    from actors.broker import StreamBroker
    from actors.driver import SuperstepDriver
    from actors.sessions import end as end_session

__all__ = ("StreamBroker", "SuperstepDriver", "end_session")

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "StreamBroker": "actors.broker",
            "SuperstepDriver": "actors.driver",
            "end_session": "actors.sessions:end",
        },
    )
