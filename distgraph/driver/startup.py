"""The start of a session's driver and broker: its errors, and when it is tried again. Pure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from distgraph._internal.version import __version__
from distgraph.errors import BrokerLost, DriverLost, UnsupportedClusterError

__all__ = ("check_versions", "did_not_start", "is_stillbirth", "lost_at_start", "repeated")

logger = logging.getLogger("distgraph")

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try to start driver and broker."""


class _Session(Protocol):
    is_stillborn: bool
    """Whether the cluster gave up driver or broker before both ran."""
    failure: BaseException | None
    """Why the session takes no more runs."""


_S = TypeVar("_S", bound=_Session)
_T = TypeVar("_T")


def repeated(
    find: Callable[[], _S], use: Callable[[_S], _T], sleep: Callable[[float], None] = time.sleep
) -> _T:
    """Use a session, and another one while the cluster gives up driver or broker before they run,
    or where the session turns out to be lost before it is used.

    Ray does so where the process or the machine of an actor ends while the actor is created, or is
    not known everywhere: on a cluster that has just started, or that lacks memory.

    Raises:
        UnsupportedClusterError, BrokerLost, DriverLost: So it was in the last try as well.
    """
    for pause in PAUSES:
        session = find()
        try:
            return use(session)
        except (BrokerLost, DriverLost) as error:
            session.failure = session.failure or error
            continue
        except UnsupportedClusterError as error:
            if not session.is_stillborn:
                raise
            logger.warning("%s. They are started again", error.args[0].partition(". If ")[0])
        sleep(pause)
    return use(find())


def is_stillbirth(error: BaseException) -> bool:
    """Return whether the cluster gave up an actor, and not the caller: another one may come up."""
    return not isinstance(error, TimeoutError) and did_not_start(error) is None


def check_versions(found: dict[str, str]) -> None:
    """Compare the versions of distgraph that the session's actors report with the version here.

    Raises:
        UnsupportedClusterError: One differs.
    """
    for actor, version in found.items():
        if version != __version__:
            raise UnsupportedClusterError(
                f"the {actor} runs distgraph {version}, this process {__version__}: install the "
                "same version on every node of the cluster"
            )


def did_not_start(error: BaseException, where: str = "") -> UnsupportedClusterError | None:
    """Return the user's error if distgraph cannot work or be imported there, or has another version

    None if ``error``, which Ray raised for an actor or a task, has another cause.
    """
    cause = getattr(error, "cause", None)  # of an error that Ray brings
    if isinstance(cause, UnsupportedClusterError):  # it says what to do
        return UnsupportedClusterError(f"{where}{cause}")
    text = str(error)
    if not any(sign in text for sign in ("failed to import on the worker", "its creation task")):
        return None
    reason = text.strip().splitlines()[-1].strip()
    own = reason.partition(f"{UnsupportedClusterError.__module__}.UnsupportedClusterError: ")[2]
    if own:  # distgraph is there, and says itself what it lacks
        return UnsupportedClusterError(f"{where}a process of the session did not start: {own}")
    return UnsupportedClusterError(
        f"{where}distgraph does not start in a worker process of the cluster ({reason}): install "
        f"distgraph {__version__}, which this process has, in the environment of every node"
    )


def lost_at_start(errors: Mapping[str, BaseException], seconds: float) -> UnsupportedClusterError:
    """Return the user's error for actors that Ray gave up before they ran, or that were late.

    Args:
        errors: What Ray raised, by actor.
        seconds: How long they were waited for.
    """
    why = "; ".join(f"{actor}: {_reason(error, seconds)}" for actor, error in errors.items())
    return UnsupportedClusterError(
        f"the cluster did not start the actors of this process's runs ({why}). If the cluster is "
        "just starting, start the program again when `ray status` lists this machine. Otherwise "
        "look for the cause in the logs of Ray on this machine (session_latest/logs/raylet.out: "
        "memory that ran out, processes that ended), or let `distgraph doctor` try it"
    )


def _reason(error: BaseException, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    lines = [line for line in str(error).splitlines() if line and not line.startswith("\t")]
    told = [line.partition(" Some common causes include")[0] for line in lines[1:] or lines]
    return " ".join(told) or type(error).__name__
