"""A worker process that is stopped while it serves nothing: Ray goes on to give it work."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from tests.support.cluster import eventually, wait_for_free_cpus

pytestmark = [pytest.mark.ray, pytest.mark.faults]


class State(TypedDict):
    pid: int


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def idle_workers(raylet: int) -> list[int]:
    """Return the processes of one node of Ray that serve nothing."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_idle = (folder / "cmdline").read_bytes().startswith(b"ray::IDLE")
            if is_idle and parent(int(folder.name)) == raylet:
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.parametrize("lease", [True, False], ids=["lease", "task"])
def test_an_attempt_that_ray_gives_to_a_stopped_process_begins_in_another(
    on_ray: Any, lease: bool
) -> None:
    builder = on_ray.StateGraph(State)
    options = {"lease": lease}
    builder.add_node("where", lambda state: {"pid": os.getpid()}, ray_options=options)
    graph = on_ray.compile(builder.add_edge(on_ray.START, "where"))
    first = graph.invoke({"pid": 0})["pid"]
    wait_for_free_cpus()
    raylet = parent(first)
    # Ray's count of free CPUs is late: it may be from before the worker's lease began
    eventually(lambda: first in idle_workers(raylet), "the worker process is idle")
    stopped = idle_workers(raylet)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert graph.invoke({"pid": 0})["pid"] not in stopped
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # its lease was withdrawn
                continue
