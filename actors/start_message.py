"""The request to a driver to start a run, as its caller packs it."""

from __future__ import annotations

from typing import Any

from actors.runloop import StartRun
from distgraph.backends.base import RunPlan
from distgraph.driver.caching import caches_of
from distgraph.errors import SerializationError
from distgraph.persistence import place
from distgraph.persistence.kept_references import keeps_references
from distgraph.persistence.opening import awaiting
from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import ReferringBlob, parcel

__all__ = ("packed",)


def packed(plan: RunPlan, digest: str, caller: str, *, is_async: bool = False) -> Any:
    """Return the pickled ``StartRun`` of a run: bytes, or a ``Parcel`` where it holds references.

    Args:
        plan: The run.
        digest: Hash of its graph's program.
        caller: Who reads it; "" for a run that no reader owns.
        is_async: Whether the caller awaits it: savers and caches are called by their async methods.

    Raises:
        SerializationError: The input, the context or the config cannot travel.
        UnsupportedError: The saver cannot be used any more.
    """
    info, options = plan.info, plan.options
    packed_input = _part(plan, "input", plan.input)
    saved = info.saver is not None and not keeps_references(info.saver)
    if saved and isinstance(packed_input, ReferringBlob):
        raise SerializationError(
            f"graph {plan.graph.name!r}: the run's input holds a reference to an object of the "
            "Ray cluster, and the thread is saved by a checkpointer, which would outlive the "
            "object. Pass the value itself or the path of a file, or run without a checkpointer"
        )
    caches = caches_of(plan.graph.program)
    if info.saver is not None:
        place(info.saver)  # raises if the connection was closed meanwhile
    saver, saves = info.saver, info.saver is not None or bool(caches)
    if is_async:
        saver = None if saver is None else awaiting(saver)
        caches = {path: awaiting(cache) for path, cache in caches.items()}
    try:
        start = StartRun(
            caller=caller,
            program=digest,
            options=options,
            packed_info=dumps_data(info),
            packed_input=packed_input,
            packed_storage=dumps_data((saver, caches)) if saves else None,
            drain=None if info.control is None else info.control.drain_reason,
        )
        return parcel(dumps_data(tuple(start)))
    except SerializationError:
        _part(plan, "context", info.context)
        config = {"configurable": options.shared.configurable, "metadata": options.metadata}
        _part(plan, "config", config)
        raise


def _part(plan: RunPlan, name: str, value: Any) -> bytes:
    """Pickle a part of a run, which the error names by the user's name for it."""
    try:
        return dumps_data(value, name=name)
    except SerializationError as error:
        raise SerializationError(
            f"graph {plan.graph.name!r}: the run's {name} cannot be sent to the driver: {error}"
        ) from error
