"""What a Ray session on this machine holds at the moment: CPUs, processes, actors, objects.

The one use of Ray's private interfaces in the tests is here: the public listing of actors needs the
dashboard.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 50.0
"""Seconds for what has to happen, on a busy machine too. A silent process is ended after 60 s: what
happens only then is too late."""


def eventually(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Ask ``check`` again until it is true.

    Raises: AssertionError with ``what`` and the last answer, after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")
        time.sleep(0.02)
    return answer


def meet(folder: Path, processes: int = 2) -> None:
    """Wait until so many processes have come here: they run at once."""
    (folder / str(os.getpid())).touch()
    eventually(lambda: len(list(folder.iterdir())) >= processes, f"{processes} processes run")


def free_cpus() -> float:
    """CPUs that no task or actor holds."""
    import ray

    return float(ray.available_resources().get("CPU", 0.0))


def all_cpus() -> float:
    import ray

    return float(ray.cluster_resources()["CPU"])


def wait_for_free_cpus(seconds: float = PATIENCE) -> None:
    """Wait until no run holds a CPU."""
    eventually(lambda: free_cpus() == all_cpus(), "every CPU is free", seconds)


def store_used() -> int:
    """Bytes in the object store that somebody still refers to (reported with some delay)."""
    import ray

    total = ray.cluster_resources()["object_store_memory"]
    return int(total - ray.available_resources().get("object_store_memory", 0.0))


def owned_objects() -> int:
    """Object references that this process holds."""
    import ray

    return len(ray._private.worker.global_worker.core_worker.get_all_reference_counts())


def live_actors() -> int:
    """Actors of the session that are not dead."""
    import ray._private.state

    return sum(a["State"] != "DEAD" for a in ray._private.state.actors().values())


def pids_of_actors(name: str) -> list[int]:
    """Processes of the live actors whose class name contains ``name``."""
    import ray._private.state

    return [
        int(a.get("Pid") or a["Address"].get("Pid") or 0)
        for a in ray._private.state.actors().values()
        if a["State"] == "ALIVE" and name in a["ActorClassName"]
    ]


def pid_of_actor(name: str) -> int:
    """The process of the one live actor whose class name contains ``name``: Ray ends those of an
    earlier session some time after it was asked to."""
    pids: list[int] = eventually(
        lambda: found if len(found := pids_of_actors(name)) == 1 else None,
        f"one {name} lives",
        60,
    )
    return pids[0]


def wait_for_no_session() -> None:
    """Wait until the drivers and brokers of sessions that were ended are gone, and their mirrors:
    what is looked for by its class then is of the next session."""
    names = ("SuperstepDriver", "StreamBroker", "BrokerMirror")
    eventually(lambda: not any(pids_of_actors(name) for name in names), "no session is left")


def wait_for_signs_of_life(session: Any) -> None:
    """Wait until the driver and the broker of a session have given signs of life: from then on,
    each silence counts."""
    watched = session._actors
    eventually(
        lambda: len(watched) == 2 and all(actor.seen > 0 for actor in watched.values()),
        "the driver and the broker have given signs of life",
    )


def _session_pids() -> set[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parents[int(entry)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return ours


def worker_titles() -> list[str]:
    """Titles of Ray's worker processes below this process: tasks, actors and idle ones."""
    found = []
    for pid in _session_pids():
        try:
            with open(f"/proc/{pid}/cmdline") as cmdline:
                title = cmdline.read().strip("\0 ")
        except OSError:
            continue
        if title.startswith("ray::"):
            found.append(title)
    return sorted(found)


def worker_processes() -> int:
    """The number of these processes."""
    return len(worker_titles())


@dataclass(frozen=True)
class Holdings:
    """What could leak."""

    actors: int
    processes: int
    threads: int
    objects: int
    store: int

    @classmethod
    def now(cls) -> Holdings:
        return cls(
            actors=live_actors(),
            processes=worker_processes(),
            threads=threading.active_count(),
            objects=owned_objects(),
            store=store_used(),
        )

    def within(self, other: Holdings) -> bool:
        """Tell whether nothing here exceeds ``other``."""
        return (
            self.actors <= other.actors
            and self.processes <= other.processes
            and self.threads <= other.threads
            and self.objects <= other.objects
            and self.store <= other.store
        )
