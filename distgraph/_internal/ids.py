"""Ids of tasks and checkpoints: derived, so that the same run names its tasks the same anywhere."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from uuid import UUID

from distgraph._internal.keys import NS_SEP

NewCheckpointId = Callable[[str, int], str]
"""Namespace and step → a new checkpoint's id."""


def _hash128(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


try:  # LangGraph hashes with xxh3: with the same hash, its pending writes find our tasks
    from xxhash import xxh3_128_hexdigest
except ImportError:
    _hash: Callable[[bytes], str] = _hash128
else:
    _hash = xxh3_128_hexdigest


def _as_uuid(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def new_run_id() -> UUID:
    """Return a new run's id.

    Not by ``uuid4``: users who replace that in tests count the ids of their messages by it.
    """
    return UUID(bytes=os.urandom(16), version=4)


def digest(data: bytes) -> str:
    """Return the hash by which LangGraph names an entry of a cache, where it can be had."""
    return _hash(data)


def task_id(checkpoint_id: str, *parts: str, layout: int = 4) -> str:
    """Return the id of a task: the hash of its checkpoint, namespace, step, name and triggers.

    ``layout``: that of the checkpoint. In the first one, LangGraph hashed by SHA-1.
    """
    seed = bytes.fromhex(checkpoint_id.replace("-", "")) + "".join(parts).encode()
    if layout <= 1:
        return _as_uuid(hashlib.sha1(seed, usedforsecurity=False).hexdigest())
    return _as_uuid(_hash(seed))


def interrupt_id(task_ns: str, answered: int) -> str:
    """Return the id of a task's next interrupt, given how many it has had answered."""
    return _hash((f"{task_ns}{NS_SEP}{answered}" if answered else task_ns).encode())


_OF_TASK = 16
"""Characters of an interrupt's id that the parts of one task share."""


def part_interrupt_id(task_ns: str, part: str, answered: int) -> str:
    """Return the id of the next interrupt of a part of a task, such as one tool call.

    The ids of all parts of a task begin alike: see ``task_of_interrupt``.
    """
    own = interrupt_id(f"{task_ns}{part}", answered)
    return interrupt_id(task_ns, 0)[:_OF_TASK] + own[_OF_TASK:]


def task_of_interrupt(id: str) -> str:
    """Return what the ids of interrupts that are pending at the same time share if one task has
    raised them in its parts."""
    return id[:_OF_TASK]


def derived_checkpoint_ids(run_id: str) -> NewCheckpointId:
    """Return checkpoint ids for a run that saves none: a hash of run, namespace and step."""

    def new(ns: str, step: int) -> str:
        return _as_uuid(_hash128(f"{run_id}/{ns}/{step}".encode()))

    return new


def in_generation(new: NewCheckpointId, generation: str) -> NewCheckpointId:
    """Return ids for a graph that was started again: not those of an earlier start.

    ``generation``: which start it is; empty for the first one.
    """
    if not generation:
        return new
    return lambda ns, step: new(f"{ns}/{generation}", step)


def scatter(seed: str) -> Callable[[], float]:
    """Return a source of numbers from 0 to 1, below 1: always the same ones for a seed."""
    counter = itertools.count()

    def draw() -> float:
        digest = hashlib.blake2b(f"{seed}/{next(counter)}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    return draw


def path_key(path: tuple[object, ...] | str | int) -> str:
    """Return a str that sorts as task paths do: the order in which writes are applied.

    Ints are zero-padded, and a task started by an edge sorts before one started by a ``Send``.
    """
    if isinstance(path, tuple):
        parts = [p if type(p) is str else path_key(p) for p in path]  # type: ignore[arg-type]
        return f"~{', '.join(parts)}"
    return f"{path:010d}" if isinstance(path, int) else path
