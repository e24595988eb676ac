"""What follows an attempt that was lost with its process. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.driver.ports import Group, NotTaken
from distgraph.errors import RunError, WorkerDied
from distgraph.loss_policy import LossPolicy
from distgraph.serde.exceptions import capture_error

__all__ = ("WantedAttempt", "cut_off", "outcome_after_fence", "outcome_of_loss")


@dataclass(slots=True)
class WantedAttempt:
    """An attempt that has not ended and is not cancelled."""

    start: StartTask
    losses: LossPolicy
    group: Group | None = None
    """The group with which the attempt was sent; None before the attempt is sent."""
    admitted: bool = False
    """Whether the attempt is admitted in the log."""
    lost: ShippedError | None = None
    """Why the attempt is lost, while the log is asked for its events."""
    taken: bool = True
    """Whether its process had begun it when it was lost, as far as is known."""


def outcome_of_loss(attempt: WantedAttempt, error: BaseException | None) -> AttemptOutcome | None:
    """Return the outcome of an attempt that never came back.

    None where it depends on the events that are in the log: ``attempt.lost`` is set then, and
    ``outcome_after_fence`` decides. ``error``: why it is lost, None if the backend did not say.
    """
    request = attempt.start.request
    if error is None:
        error = RunError(
            f"node {request.node!r}, step {request.step}: the backend returned no outcome of "
            f"attempt {request.shown_attempt}. This is a bug of the backend"
        )
    shipped = capture_error(error)
    taken = attempt.taken = not isinstance(error, NotTaken)
    more = request.losses + 1 < attempt.losses.max_attempts
    if taken and not (isinstance(error, WorkerDied) and more):
        return cut_off(attempt.start, error=shipped)
    if not attempt.admitted or attempt.losses.on_lost_attempt == "buffer":
        return cut_off(attempt.start, error=shipped, again=True, begun=taken)
    attempt.lost = shipped
    return None


def outcome_after_fence(attempt: WantedAttempt, arrived: int) -> AttemptOutcome:
    """Return the outcome of a lost attempt, of which ``arrived`` events are in the stream."""
    resets = attempt.losses.on_lost_attempt == "reset"
    void = arrived if resets and arrived else None
    again = resets or not arrived
    begun = attempt.taken or bool(arrived)  # the process may have begun it meanwhile
    return cut_off(attempt.start, error=attempt.lost, again=again, void=void, begun=begun)


def cut_off(start: StartTask, **fields: Any) -> AttemptOutcome:
    """Return the outcome of an attempt that has none of its own: its stream is cut off."""
    return AttemptOutcome(
        task_id=start.request.task_id,
        attempt=start.request.attempt,
        status=fields.pop("status", "error"),
        lost=True,
        **fields,
    )
