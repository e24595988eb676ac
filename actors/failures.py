"""Ray's own failures as distgraph's typed errors, with node, step and remedy."""

from __future__ import annotations

import ray.exceptions as rx

from actors.groups import GroupFailed
from distgraph.contract.events import StartTask
from distgraph.driver.startup import did_not_start
from distgraph.errors import RunCancelled, RunError, SerializationError, WorkerDied

_DEATHS = (
    rx.WorkerCrashedError,
    rx.ActorDiedError,
    rx.ActorUnavailableError,
    rx.NodeDiedError,
    rx.OutOfMemoryError,
    rx.LocalRayletDiedError,
    rx.OwnerDiedError,
    rx.ObjectLostError,
)


def typed(error: BaseException, start: StartTask) -> BaseException:
    """Return the error that the caller sees for an attempt whose result Ray could not deliver."""
    request = start.request
    where = f"node {request.node!r}, step {request.step}, attempt {request.tries}"
    if isinstance(error, rx.RayTaskError) and isinstance(error.cause, WorkerDied):
        error = error.cause
    if isinstance(error, WorkerDied):
        return type(error)(f"{where}: {error}")
    if isinstance(error, GroupFailed) and error.__cause__ is not None:
        return error.__cause__
    unfit = did_not_start(error, f"{where}: ")
    if unfit is not None:
        return unfit
    if isinstance(error, rx.OutOfMemoryError):
        return WorkerDied(
            f"{where}: the worker was killed because its machine ran out of memory; give the node "
            f"more with ray_options={{'memory': ...}}, or lower config['max_concurrency']. {error}"
        )
    if isinstance(error, _DEATHS):
        before = f", as those of {request.losses} earlier attempts did" if request.losses else ""
        return WorkerDied(
            f"{where}: the process or machine that ran it died{before} "
            f"({type(error).__name__}: {_first_line(error)})"
        )
    if isinstance(error, rx.TaskCancelledError):
        return RunCancelled(f"{where}: its Ray task was cancelled from outside of distgraph")
    if isinstance(error, rx.RuntimeEnvSetupError):
        return RunError(f"{where}: its runtime_env could not be set up: {error}")
    if isinstance(error, rx.RayTaskError):
        cause = error.cause
        if isinstance(cause, Exception):
            return cause
    return RunError(f"{where}: {type(error).__name__}: {error}")


def unreadable(error: Exception, start: StartTask) -> SerializationError:
    """Return the error for an outcome that the driver cannot unpickle."""
    request = start.request
    failed = SerializationError(
        f"node {request.node!r}, step {request.step}, attempt {request.tries}: what it returned "
        f"cannot be unpickled on the driver ({type(error).__name__}: {error}). The modules of its "
        "classes must be importable in the caller's process and on the machine of the driver"
    )
    failed.__cause__ = error
    return failed


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no details"
