"""The pickled outcome of an attempt: what it was, or the error that says why it cannot be sent."""

from __future__ import annotations

from distgraph.channels.untracked_value import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.spec import GraphProgram
from distgraph.errors import SerializationError
from distgraph.serde.exceptions import capture_error, release_error
from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import ReferringBlob
from distgraph.worker.located import graphs_of, locate
from distgraph.worker.packing import pack_outcome
from distgraph.worker.pinned import pinned
from distgraph.worker.unsent import unsent_error

__all__ = ("packed_outcome",)


def packed_outcome(
    outcome: AttemptOutcome,
    request: AttemptRequest,
    program: GraphProgram,
    *,
    run_id: str,
    keeps: bool,
    saved: bool,
) -> bytes:
    """Pickle an outcome. If a value of it cannot be sent, pickle an outcome with that error.

    Args:
        outcome: The outcome.
        request: What was asked for.
        program: The graph of the run.
        run_id: The run.
        keeps: Whether values that cannot be pickled may stay in this process.
        saved: Whether a saver writes the values to a place that references must not get to.
    """
    try:
        try:
            packed = pack_outcome(outcome)
        except Exception:
            if not keeps:
                raise
            try:
                outcome = _with_handles(outcome, request, program, run_id)
            except SerializationError as stays:
                return _failed(outcome, stays)
            packed = pack_outcome(outcome)
        if saved and isinstance(packed, ReferringBlob):
            refused = _saved_reference(outcome, request, program)
            if refused is not None:
                return _failed(outcome, refused)
        if outcome.error is not None:
            release_error(outcome.error)  # what its frames hold, such as memory of a GPU
        return packed
    except Exception as error:
        return _failed(outcome, unsent_error(outcome, request, error))


def _with_handles(
    outcome: AttemptOutcome, request: AttemptRequest, program: GraphProgram, run_id: str
) -> AttemptOutcome:
    """Return an outcome with handles in place of the values that stay in this process."""
    graphs = graphs_of(program, request)
    channels = graphs[-1].spec.channels
    around = None if len(graphs) == 1 else graphs[-2].spec.channels
    return pinned(outcome, request, channels, run_id, around)


def _failed(outcome: AttemptOutcome, error: Exception) -> bytes:
    return pack_outcome(
        AttemptOutcome(
            task_id=outcome.task_id,
            attempt=outcome.attempt,
            status="error",
            error=capture_error(error),
            calls=outcome.calls,
            published=outcome.published,
            tail=outcome.tail,
            message_ids=outcome.message_ids,
            host=outcome.host,
            pid=outcome.pid,
            started_at=outcome.started_at,
            duration=outcome.duration,
        )
    )


def _saved_reference(
    outcome: AttemptOutcome, request: AttemptRequest, program: GraphProgram
) -> SerializationError | None:
    """Return the error for a reference in what is saved: a checkpoint outlives its object."""
    channels = locate(program, request).graph.spec.channels
    for key, value in outcome.writes:
        saved = not isinstance(channels.get(key), UntrackedValue)
        if saved and isinstance(dumps_data(value), ReferringBlob):
            return SerializationError(
                f"node {request.node!r}, step {request.step}: its write of {key!r} holds a "
                "reference to an object of the Ray cluster, and the thread is saved by a "
                "checkpointer, which would outlive the object. Annotate the key with "
                "UntrackedValue, store the value itself or the path of a file, or run without a "
                "checkpointer"
            )
    return None
