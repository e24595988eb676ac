"""Calls of reducers in processes of their own, as Ray tasks on the driver's machine."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.calls import driver_of
from actors.cluster import remote
from actors.reaper import Reaper
from distgraph.driver.reducers import Startups, reduce_packed
from distgraph.errors import RunError
from distgraph.serde.pickling import dumps_code, loads
from distgraph.serde.program import extend_path
from distgraph.serde.references import ReferringBlob, parcel
from distgraph.serde.script_module import stand_in_for_script

__all__ = ("ReducerTasks", "startups")

startups = Startups()
"""Of this driver."""

_numbers = itertools.count(1)

_SLICE = 0.1
"""Seconds between two instants at which the waiting thread can be interrupted."""


def _reduce(session: str, call: int, function: Any, paths: Sequence[str], packed: Any) -> Any:
    extend_path(paths)
    stand_in_for_script()
    driver_of(session).reducer_begins.remote(call)
    known = _loaded(function) if type(function) is bytes else loads(function)
    return parcel(reduce_packed(known, packed))


@lru_cache(maxsize=64)
def _loaded(blob: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = loads(blob)
    return function


_reduce_task: Any = remote(num_cpus=0, max_retries=0)(_reduce)


class ReducerTasks:
    """Calls reducers of one graph.

    Args:
        session: That of the driver.
        reaper: Ends the process of a call that nobody waits for any more.
        paths: Where the caller's own modules lie.
    """

    def __init__(self, session: str, reaper: Reaper, paths: Sequence[str]) -> None:
        self._session = session
        self._reaper = reaper
        self._paths = tuple(paths)
        self._blobs: dict[int, bytes] = {}
        """By the ``id`` of the reducer, which lives as long as the graph."""

    def __call__(self, label: str, function: Callable[..., Any], packed: bytes) -> bytes:
        """Call a reducer, and wait.

        Raises:
            RunError: Its process died.
        """
        blob = self._blobs.get(id(function))
        if blob is None:
            blob = self._blobs[id(function)] = dumps_code(function)
        near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        task = _reduce_task.options(name=label, scheduling_strategy=near)
        call = next(_numbers)
        startups.asked(call, threading.get_ident())
        ref = None
        try:
            ref = task.remote(self._session, call, parcel(blob), self._paths, parcel(packed))
            over = threading.Event()
            ended = ref.future()
            ended.add_done_callback(lambda future: over.set())
            while not over.wait(_SLICE):
                pass
        except BaseException:
            if ref is not None:
                self._reaper.kill(ref, label)
            raise
        finally:
            startups.began(call)
        try:
            found = ended.result()
        except RayError as error:
            raise RunError(f"{label}: its process died ({type(error).__name__})") from error
        return found if isinstance(found, bytes) else ReferringBlob(found.blob, found.references)
