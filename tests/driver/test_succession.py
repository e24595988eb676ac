"""What a caller does with its runs when their driver dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import END_MODE, KeepRun, StreamEvent
from distgraph.driver import succession
from distgraph.driver.succession import (
    EndRequest,
    GivenRuns,
    Leaving,
    SentRun,
    Succession,
    begins_again,
    leaving,
    loss_at_once,
)
from distgraph.errors import BrokerLost, DriverLost, RunError
from distgraph.graph import START, StateGraph
from distgraph.serde.exceptions import capture_error

CANCEL, DRAIN = EndRequest("c", "cancel", ()), EndRequest("d", "drain", ("enough",))


@dataclass
class FakeInbox:
    is_used: bool = False


def node(state: dict) -> None: ...


@pytest.fixture(scope="module")
def sent() -> Callable[[str], SentRun]:
    builder = StateGraph(dict).add_node("node", node).add_edge(START, "node")
    spec: GraphSpec = builder.compile(backend="local").spec

    def make(digest: str) -> SentRun:
        return SentRun(spec, b"blob", KeepRun(b"start", digest), FakeInbox())

    return make


def test_runs_end_with_their_driver_unless_another_goes_on_with_them_or_begins_them():
    given = GivenRuns(graphs=2)
    followed = given.succeed(["a", "b", "c"], has_driver=True, taken=["a"], begun=["b"])
    assert followed == Succession([], [], ["c"])


def test_without_another_driver_all_runs_end_and_nothing_is_sent(sent):
    given = GivenRuns(graphs=2)
    given.sent("a", sent("one"))
    given.asked(CANCEL)
    assert given.succeed(["a", "b"], has_driver=False) == Succession([], [], ["a", "b"])


def test_a_driver_that_begins_a_run_is_sent_its_graph(sent):
    given = GivenRuns(graphs=2)
    first, second = sent("one"), sent("two")
    given.sent("a", first)
    given.sent("b", second)
    assert given.unbegun() == {"a": first.begin, "b": second.begin}
    followed = given.succeed(["a", "b"], has_driver=True, begun=["b", "of another caller"])
    assert followed == Succession([second], [], ["a"])


def test_a_run_of_which_something_came_has_begun(sent):
    given = GivenRuns(graphs=2)
    run = sent("one")
    given.sent("a", run)
    run.inbox.is_used = True
    assert given.unbegun() == {}


def test_another_driver_knows_no_graph():
    given = GivenRuns(graphs=2)
    given.registered("one")
    given.succeed([], has_driver=True)
    assert (given.has_graphs, given.knows("one")) == (False, False)


def test_graphs_that_were_not_used_for_longest_are_sent_again():
    given = GivenRuns(graphs=2)
    for digest in ("one", "two", "one", "three"):
        given.registered(digest)
    assert [given.knows(d) for d in ("one", "two", "three")] == [True, False, True]


def test_another_driver_is_asked_again_to_end_runs():
    given = GivenRuns(graphs=2)
    given.asked(EndRequest("c", "drain", ("first",)))
    given.asked(CANCEL)
    given.asked(DRAIN)
    assert given.succeed([], has_driver=True).requests == [CANCEL, DRAIN]


def test_a_run_that_was_left_is_neither_begun_nor_ended_again(sent):
    given = GivenRuns(graphs=2)
    given.sent("c", sent("one"))
    given.asked(CANCEL)
    given.forget("c")
    assert given.unbegun() == {}
    assert given.succeed([], has_driver=True, begun=["c"]) == Succession([], [], [])


def test_of_many_requests_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr(succession, "REQUESTS", 2)
    given = GivenRuns(graphs=2)
    requests = [EndRequest(run_id, "cancel", ()) for run_id in "abc"]
    for request in requests:
        given.asked(request)
    assert given.succeed([], has_driver=True).requests == requests[1:]


@pytest.mark.parametrize(
    ("is_detached", "failure", "has_launched", "way"),
    [
        (False, None, True, Leaving.HIDE),
        (True, DriverLost("dead"), True, Leaving.HIDE),
        (False, DriverLost("dead"), True, Leaving.KEEP),
        (False, DriverLost("dead"), False, Leaving.END),
        (False, BrokerLost("dead"), True, Leaving.END),
    ],
)
def test_a_lost_session_is_kept_only_where_its_broker_has_streams_to_read(
    is_detached, failure, has_launched, way
):
    found = leaving(is_detached=is_detached, failure=failure, has_launched=has_launched)
    assert found is way


@pytest.mark.parametrize(
    ("loss", "has_driver", "is_saved", "broker_lives", "again"),
    [
        ("", False, False, False, False),
        ("DriverLost", False, False, True, True),  # a driver that had died answers no start
        ("DriverLost", False, True, False, True),
        ("DriverLost", True, False, False, False),  # it died within the run
        ("BrokerLost", False, False, False, True),
        ("BrokerLost", False, True, False, True),
        ("BrokerLost", True, False, False, True),
        ("BrokerLost", True, True, False, False),  # what is saved might be saved twice
        ("BrokerLost", True, False, True, False),  # it died within the run
        ("BrokerLost", False, False, True, False),
    ],
)
def test_a_run_begins_again_if_its_session_had_died_before(
    loss, has_driver, is_saved, broker_lives, again
):
    found = begins_again(loss, has_driver=has_driver, is_saved=is_saved, broker_lives=broker_lives)
    assert found is again


def test_a_loss_that_is_the_first_event_of_a_run_is_all_that_came_of_it():
    def end(error, seq=1, mode=END_MODE):
        payload = {"status": "error", "error": error and capture_error(error)}
        return StreamEvent("run", seq, (), 0, "", 1, 1, mode, payload)

    assert loss_at_once([end(DriverLost("gone"))]) == "DriverLost"
    assert loss_at_once([end(BrokerLost("gone"))]) == "BrokerLost"
    assert loss_at_once([end(RunError("of a node"))]) == ""
    assert loss_at_once([end(None)]) == ""
    assert loss_at_once([end(DriverLost("gone"), seq=2)]) == ""
    assert loss_at_once([end(DriverLost("gone"), mode="custom")]) == ""
    assert loss_at_once([end(DriverLost("gone")), end(DriverLost("gone"))]) == ""
    assert loss_at_once([]) == ""
