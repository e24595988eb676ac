"""Driver and broker that do not come up: who is told what, and when others are started."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from distgraph import __version__
from distgraph.driver.startup import (
    PAUSES,
    check_versions,
    did_not_start,
    is_stillbirth,
    lost_at_start,
    repeated,
)
from distgraph.errors import BrokerLost, DriverLost, RunError, UnsupportedClusterError

UNFIT = RuntimeError("The actor died because of an error raised in its creation task\nNo distgraph")


class OfRay(RuntimeError):
    """As Ray raises what an actor raised."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(f"ray::ping()\n{cause}")


def test_an_actor_that_cannot_work_there_says_why_itself():
    error = OfRay(UnsupportedClusterError("no port of DISTGRAPH_PORTS=80-80 is free"))
    found = did_not_start(error, "here: ")
    assert str(found) == "here: no port of DISTGRAPH_PORTS=80-80 is free"
    assert not is_stillbirth(error)
    assert did_not_start(OfRay(ValueError("x"))) is None


class FakeSession:
    def __init__(self, *, is_stillborn: bool) -> None:
        self.is_stillborn = is_stillborn
        self.failure: BaseException | None = None


def fails(error: Exception) -> Callable[[FakeSession], None]:
    def use(session: FakeSession) -> None:
        raise error

    return use


def test_another_session_is_used_after_a_pause_where_one_was_given_up(caplog):
    sessions = [FakeSession(is_stillborn=True) for _ in range(3)]
    left, slept = list(sessions), list[float]()

    def use(session: FakeSession) -> FakeSession:
        if session is not sessions[-1]:
            raise UnsupportedClusterError("the actors never ran. If memory ran out, add some")
        return session

    with caplog.at_level(logging.WARNING, "distgraph"):
        assert repeated(lambda: left.pop(0), use, slept.append) is sessions[-1]
    assert slept == list(PAUSES[:2])
    assert {record.getMessage() for record in caplog.records} == {
        "the actors never ran. They are started again"
    }


@pytest.mark.parametrize("error", [BrokerLost("gone"), DriverLost("gone")])
def test_a_session_that_is_lost_before_it_is_used_is_replaced_at_once(error):
    lost, found = FakeSession(is_stillborn=False), FakeSession(is_stillborn=False)
    left, slept = [lost, found], list[float]()

    def use(session: FakeSession) -> FakeSession:
        if session is lost:
            raise error
        return session

    assert repeated(lambda: left.pop(0), use, slept.append) is found
    assert lost.failure is error
    assert slept == []


def test_the_error_of_the_last_try_is_raised():
    slept = list[float]()
    with pytest.raises(UnsupportedClusterError, match="never ran"):
        repeated(
            lambda: FakeSession(is_stillborn=True),
            fails(UnsupportedClusterError("the actors never ran")),
            slept.append,
        )
    assert slept == list(PAUSES)


@pytest.mark.parametrize(
    ("is_stillborn", "error"),
    [(False, UnsupportedClusterError("another version")), (True, RunError("known already"))],
)
def test_what_would_fail_again_is_not_repeated(is_stillborn, error):
    slept = list[float]()
    with pytest.raises(type(error)):
        repeated(lambda: FakeSession(is_stillborn=is_stillborn), fails(error), slept.append)
    assert slept == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("The actor never ran."), True),
        (TimeoutError("Get timed out"), False),
        (UNFIT, False),
    ],
)
def test_an_actor_that_was_given_up_may_come_up_at_the_next_try(error, expected):
    assert is_stillbirth(error) is expected


def test_a_worker_without_distgraph_is_named_with_the_remedy():
    told = str(did_not_start(UNFIT, "node 'a': "))
    assert told == (
        "node 'a': distgraph does not start in a worker process of the cluster (No distgraph): "
        f"install distgraph {__version__}, which this process has, in the environment of every node"
    )
    assert did_not_start(RuntimeError("The node died")) is None


def test_what_distgraph_itself_says_of_a_process_is_told_as_it_is():
    lacking = RuntimeError(
        "The actor died because of an error raised in its creation task, ...\n"
        "distgraph.errors.UnsupportedClusterError: no port of DISTGRAPH_PORTS=1-3 is free"
    )
    assert str(did_not_start(lacking)) == (
        "a process of the session did not start: no port of DISTGRAPH_PORTS=1-3 is free"
    )


def test_another_version_of_distgraph_is_refused():
    check_versions({"stream broker": __version__})
    with pytest.raises(UnsupportedClusterError, match="the stream broker runs distgraph 0.0.9"):
        check_versions({"superstep driver": __version__, "stream broker": "0.0.9"})


def test_an_actor_that_ray_gives_up_is_told_with_what_ray_says_and_a_remedy():
    died = RuntimeError(
        "The actor died unexpectedly before finishing this task.\n\tclass_name: StreamBroker\n"
        "The actor is dead because its node has died.\nThe actor never ran."
    )
    late = TimeoutError("Get timed out")
    told = str(lost_at_start({"stream broker": died, "superstep driver": late}, 120.0))
    assert told.startswith(
        "the cluster did not start the actors of this process's runs (stream broker: The actor is "
        "dead because its node has died. The actor never ran.; superstep driver: no answer within "
        "120 s). If the cluster is just starting"
    )
