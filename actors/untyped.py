"""Parts of Ray's public API that its own annotations do not describe."""

from __future__ import annotations

from typing import Any

import ray

remote: Any = ray.remote
"""``ray.remote``, which also takes ``concurrency_groups`` and gives a class ``options``."""

get: Any = getattr(ray.get, "__wrapped__", ray.get)
"""``ray.get``, which quietly starts another Ray where there is none any more; this one fails."""


def cpus() -> int:
    """Return the CPUs of the cluster, at least 1."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def alive_nodes() -> list[str]:
    """Return the ids of the machines of the cluster."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["NodeID"] for node in nodes if node["Alive"]]
