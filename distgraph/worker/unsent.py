"""Errors for what a node hands over and cannot be sent, in the words of the node's author."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from distgraph._internal.keys import PREVIOUS, RETURN, TASKS
from distgraph.constants import END
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data
from distgraph.types import Send

__all__ = ("unsent_error",)


class _Handed(NamedTuple):
    """One value that a node handed over."""

    what: str
    """What it is, as the subject of a sentence."""
    root: str
    """The name that an expression for a part of it begins with."""
    value: Any
    remedy: str = ""


def unsent_error(
    outcome: AttemptOutcome, request: AttemptRequest, error: BaseException
) -> SerializationError:
    """Return the error for an outcome that cannot be pickled, ``error`` where no part is at fault.

    It names the node, the step, the state key or the call, and the path to the object.
    """
    where = f"node {request.node!r}, step {request.step}"
    for handed in _handed(outcome, request):
        try:
            dumps_data(handed.value, name=handed.root)
        except SerializationError as found:
            told = f"{where}: {handed.what} cannot be sent to other processes: {found}"
            return SerializationError(f"{told}.{handed.remedy}" if handed.remedy else told)
    return SerializationError(f"{where}: what it returned cannot be sent back: {error}")


def _handed(outcome: AttemptOutcome, request: AttemptRequest) -> Iterator[_Handed]:
    for key, value in outcome.writes:
        if key == TASKS and isinstance(value, Send):
            yield _Handed(f"what it sends to node {value.node!r}", "Send(...).arg", value.arg)
        elif key in (RETURN, END, PREVIOUS):
            yield _Handed("what it returned", "result", value)
        else:
            yield _Handed(
                f"its update of state key {key!r}",
                f'update["{key}"]',
                value,
                " To hand the object itself to other nodes, annotate the key with UntrackedValue "
                "and give the nodes ray_options={'affinity': 'run'}: they share one process",
            )
    for interrupt in outcome.interrupts:
        value = getattr(interrupt, "value", interrupt)
        yield _Handed("what it gave to interrupt()", "value", value)
    if outcome.status == "command":
        yield _Handed("the Command that it addressed to the parent graph", "command", outcome.value)
    elif outcome.value is not None:
        yield _Handed("its result", "result", outcome.value)
