"""What the cluster and all sessions on it have to do now, for ``distgraph top``."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from actors.cluster import NAMESPACE, driver_name, get, machines
from actors.started_runs import brokers, connected
from distgraph.contract.load import ClusterLoad, SessionLoad

__all__ = ("look",)

_ANSWER = 5.0
"""Seconds for drivers and brokers to answer."""

_SHOWN = ("CPU", "GPU")


def look() -> ClusterLoad:
    """Ask all drivers and brokers of the cluster. One that does not answer in time is None.

    Raises:
        UnsupportedClusterError: There is no cluster to look at.
    """
    connected()
    found = brokers()
    drivers = {}
    for session, _ in found:
        with suppress(ValueError, RayError):
            drivers[session] = ray.get_actor(driver_name(session), NAMESPACE)
    asked: dict[str, Any] = {f"broker {s}": broker.load.remote() for s, broker in found}
    asked |= {f"driver {s}": driver.load.remote() for s, driver in drivers.items()}
    answers = {}
    if asked:
        ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER)
        for name, ref in asked.items():
            if ref in ready:
                with suppress(RayError):
                    answers[name] = get(ref)
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return ClusterLoad(
        len(machines()),
        {key: total.get(key, 0.0) for key in _SHOWN},
        {key: free.get(key, 0.0) for key in _SHOWN},
        tuple(
            SessionLoad(s, answers.get(f"driver {s}"), answers.get(f"broker {s}"))
            for s, _ in sorted(found, key=lambda pair: pair[0])
        ),
    )
