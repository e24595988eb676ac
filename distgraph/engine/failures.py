"""What counts as a failure of a task, and whether and when another attempt follows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from distgraph.contract.attempt import AttemptOutcome, Lateness
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.retries import delay_before, verdicts_on
from distgraph.engine.task import Task
from distgraph.errors import (
    INVALID_RESUME,
    NodeCancelledError,
    NodeTimeoutError,
    cancelled_itself,
    is_invalid_resume,
)
from distgraph.serde.exceptions import add_notes, rebuild_error

if TYPE_CHECKING:
    from distgraph.types import TimeoutPolicy

__all__ = (
    "FailedAttempt",
    "RetryVerdict",
    "after_loss",
    "failure_of",
    "is_rejected_resume",
    "next_attempt",
    "retried",
    "timed_out",
)

logger = logging.getLogger("distgraph")

Error = ShippedError | BaseException


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt in which a failure began."""

    start: StartTask
    outcome: AttemptOutcome

    @property
    def judged(self) -> bool:
        """Whether retry policies were asked where the error was raised.

        They could not be where the worker died, and were not where the attempt took too long.
        """
        return self.outcome.status == "error" and not self.outcome.lost


class RetryVerdict(NamedTuple):
    """What follows a failure."""

    delay: float | None
    """Seconds before the next attempt, None if there is none."""
    error: Error
    """The error that the task failed with, or that a policy's ``retry_on`` raised."""


def failure_of(task: Task, start: StartTask, outcome: AttemptOutcome) -> Error | None:
    """Return the error that an attempt failed with, None if it did not fail."""
    if outcome.status == "error":
        assert outcome.error is not None
        return outcome.error
    if outcome.status == "cancelled":
        return outcome.error or cancelled_itself(task.name)
    if outcome.status == "timeout":
        limit = start.request.limit
        own = start.request.timeout is not None and outcome.late is None
        return None if own or limit is None else timed_out(task, limit, outcome.late, outcome.stack)
    return None


def is_rejected_resume(error: Error) -> bool:
    """Return whether a task failed because its resume value did not fit the interrupt's schema."""
    if isinstance(error, ShippedError):
        return error.has_attribute(INVALID_RESUME)
    return is_invalid_resume(error)


def timed_out(
    task: Task, limit: TimeoutPolicy | None, late: Lateness | None = None, stack: str = ""
) -> NodeTimeoutError | None:
    """Return the error of an attempt that reached its time limit, None if it has no limit.

    ``late``: the limit that was reached; by default, the one that is reached first.
    ``stack``: Python stacks of the attempt's process, for a note.
    """
    if limit is None:
        return None
    run, idle = _seconds(limit.run_timeout), _seconds(limit.idle_timeout)
    if late is None:
        late = Lateness("run", run) if run is not None else Lateness("idle", idle or 0.0)
    error = NodeTimeoutError(
        task.name, late.elapsed, kind=late.kind, run_timeout=run, idle_timeout=idle
    )
    if stack:
        add_notes(error, (f"It did not let itself be interrupted, and stood at\n{stack}",))
    return error


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) else None


def next_attempt(
    task: Task, error: Error, failed: FailedAttempt | None, level: int, random: Callable[[], float]
) -> RetryVerdict:
    """Return whether another attempt follows, by the retry policies of the task's node.

    Args:
        task: The task that failed: ``level`` graphs around the one in which the failure began.
        error: The error that it failed with.
        failed: The attempt in which the failure began, None if it began outside of one.
        level: 0 for the task of that attempt.
        random: Returns numbers of [0, 1).
    """
    policies = task.node.retry
    if not policies or (failed is None and level == 0):
        return RetryVerdict(None, error)
    if failed is not None and failed.judged:
        verdicts = failed.outcome.verdicts
        verdict = verdicts[level] if level < len(verdicts) else None
    else:
        real = rebuild_error(error) if isinstance(error, ShippedError) else error
        if isinstance(real, NodeCancelledError) or not isinstance(real, Exception):
            return RetryVerdict(None, error)
        try:
            (verdict,) = verdicts_on((policies,), real)
        except Exception as raised:
            return RetryVerdict(None, raised)
    if verdict is None:
        return RetryVerdict(None, error)
    failures = failed.start.request.tries if failed is not None and level == 0 else task.attempt
    seconds = delay_before(policies[verdict], failures, random)
    if seconds is not None:
        logger.info(
            "Retrying task %s after %.2f seconds (attempt %d) after %s",
            task.name,
            seconds,
            failures,
            _in_words(error),
        )
    return RetryVerdict(seconds, error)


def _in_words(error: Error) -> str:
    if isinstance(error, ShippedError):
        return f"{error.type_name}: {error.message}"
    return f"{type(error).__name__}: {error}"


def retried(failed: FailedAttempt) -> StartTask:
    """Return the instruction for the attempt that follows a failed one."""
    request, outcome = failed.start.request, failed.outcome
    standing = request.standing
    if standing is not None:  # graphs that the node invokes go on from what they have saved
        standing = replace(standing, resuming=True)
    following = replace(
        request,
        attempt=request.attempt + 1,
        tries=request.tries + 1,
        losses=0,
        first_attempt_at=request.first_attempt_at or outcome.started_at or None,
        standing=standing,
    )
    return replace(failed.start, request=following)


def after_loss(start: StartTask, outcome: AttemptOutcome) -> StartTask:
    """Return the instruction for the attempt that follows one that was lost with its process."""
    following = retried(FailedAttempt(start, outcome))
    losses = start.request.losses + outcome.begun
    request = replace(following.request, tries=start.request.tries, losses=losses)
    return replace(following, request=request)
