"""Typed access to the cluster: names of a session's actors, machines, CPUs, object references.

Parts of Ray's public API have no annotations; they are wrapped here.
"""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from distgraph import status
from distgraph.concurrency.forking import free_in_forks

remote: Any = ray.remote
"""``ray.remote``, which also takes ``concurrency_groups`` and gives a class ``options``."""

_get: Any = getattr(ray.get, "__wrapped__", ray.get)
"""``ray.get``, which quietly starts another Ray where there is none any more; this one fails."""

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2", "SIGHUP")
    if hasattr(signal, name)
)


def get(ref: Any, timeout: float | None = None) -> Any:
    """Wait for the value of a reference, for ``timeout`` seconds at most, and return it.

    What a signal handler raises meanwhile leaves this call at once. ``ray.get`` by itself raises
    only ``KeyboardInterrupt`` and ``SystemExit`` at once; with any other exception it goes on
    waiting, and then fails with a ``SystemError``. It is the faster way, by a tenth of the round
    trip, where the program has no signal handler.

    Raises:
        RayError: The value cannot be had, or not in time (``GetTimeoutError``).
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and any(map(_is_of_the_program, _SIGNALS)):
        try:
            return ref.future().result(timeout)
        except FutureTimeoutError as error:
            raise GetTimeoutError(f"no answer after {timeout} s") from error
    return _get(ref, timeout=timeout)


def _is_of_the_program(signal_number: int) -> bool:
    handler = signal.getsignal(signal_number)
    return callable(handler) and handler is not signal.default_int_handler


def job() -> str | None:
    """Return the id of this process's connection to a Ray cluster; None without a connection.

    ``ray.get_runtime_context().get_job_id()`` takes ten times as long, and each run asks often.
    """
    worker: Any = ray._private.worker.global_worker
    return worker.current_job_id.hex() if worker.connected else None


# --- actors of a session ------------------------------------------------------------------------

_DRIVER = "."

NAMESPACE = "distgraph"
"""Ray's namespace of all of our actors."""


def driver_name(session: str) -> str:
    """Name of a session's superstep driver."""
    return f"distgraph-driver-{session}"


def broker_name(session: str) -> str:
    """Name of a session's stream broker, whichever driver the session has."""
    return f"distgraph-broker-{session.partition(_DRIVER)[0]}"


def mirror_name(session: str, number: int = 0) -> str:
    """Name of the mirror of a session's broker, which ``number`` others were before."""
    return f"distgraph-mirror-{session}.{number}"


def number_of_mirror(name: str, session: str) -> int | None:
    """Return the number of a session's mirror; None for the name of another actor."""
    number = name.removeprefix(mirror_name(session).removesuffix("0"))
    return int(number) if number.isdecimal() else None


def with_driver(session: str, number: int) -> str:
    """Return the id under which a session's next driver is known: Ray gives no name twice."""
    return f"{session.partition(_DRIVER)[0]}{_DRIVER}{number}"


def drivers() -> set[str]:
    """Return the names of the superstep drivers of all sessions of the cluster."""
    named: list[dict[str, str]] = ray.util.list_named_actors(all_namespaces=True)
    ours = {actor["name"] for actor in named if actor["namespace"] == NAMESPACE}
    return {name for name in ours if name.startswith(driver_name(""))}


def actor_id(handle: Any) -> str:
    """Return the id of an actor."""
    found: str = handle._actor_id.hex()
    return found


# --- machines -----------------------------------------------------------------------------------

_CPUS_FOR = 5.0
"""Seconds for which the number of CPUs is trusted."""

_ANSWER = 1.0
"""Seconds for the control store to say whether anybody waits for resources."""

_cpus_lock = free_in_forks(threading.Lock())
_cpus_known: tuple[float, int] = (float("-inf"), 1)


def known_cpus() -> int:
    """Return the CPUs of the cluster as of a few seconds ago, at least 1."""
    global _cpus_known
    with _cpus_lock:
        now = time.monotonic()
        if now > _cpus_known[0] + _CPUS_FOR:
            _cpus_known = now, cpus()
        return _cpus_known[1]


def cpus() -> int:
    """Return the CPUs of the cluster, at least 1."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def machines() -> list[dict[str, float]]:
    """Return the total resources of each machine of the cluster that is alive."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [dict(node.get("Resources", {})) for node in nodes if node["Alive"]]


def cluster_size() -> str:
    """Return the size of the cluster in words."""
    all_of_them = machines()
    total = {key: sum(m.get(key, 0) for m in all_of_them) for key in ("CPU", "GPU")}
    return status.cluster_size(len(all_of_them), total["CPU"], total["GPU"])


def node_address() -> str:
    """Return the address under which other machines of the cluster reach this one."""
    found: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return found


def alive_nodes() -> list[str]:
    """Return the ids of the machines of the cluster."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["NodeID"] for node in nodes if node["Alive"]]


def nobody_waits() -> bool:
    """Return whether Ray reports that nobody waits for resources: as of a second ago at most.

    Ray has no public function for this. What is used here is what its autoscaler asks.
    """
    try:
        from ray.core.generated import autoscaler_pb2

        of_ray: Any = autoscaler_pb2
        worker: Any = ray._private.worker.global_worker
        client = worker.gcs_client
        reply = of_ray.GetClusterResourceStateReply()
        reply.ParseFromString(client.get_cluster_resource_state(_ANSWER))
        found = reply.cluster_resource_state
        return not (found.pending_resource_requests or found.pending_gang_resource_requests)
    except Exception:  # then somebody may wait
        return False
