"""What a driver makes of attempts that it sends to workers. No Ray runs."""

import threading
from dataclasses import replace
from types import SimpleNamespace

from actors.ray_workers import RayWorkers
from actors.worker import OpenPacket, _open
from distgraph.driver.ports import Group
from distgraph.graph import START, StateGraph
from distgraph.serde.pickling import dumps_data, loads
from tests.engine.play import Play
from tests.support.graphs import Items


class Sending:
    """The workers of a run, and the groups that were sent to a lease."""

    def __init__(self):
        self.sent = []
        shared = SimpleNamespace(
            session="session",
            leases_tasks=True,
            leases=SimpleNamespace(submit=self.sent.append, cancel=self.sent.remove),
        )
        self.workers = RayWorkers(shared, "run", "digest", dumps_data(None), None, None)

    def requests(self):
        """Return the requests of the last group, as its worker reads them."""
        packet = _open(self.sent[-1].packed)
        opened = OpenPacket(packet, None, None, loads(packet.heads), {})
        return [opened.request(at, (), loads) for at in range(len(packet.attempts))]


def starts():
    builder = StateGraph(Items).add_node("a", lambda s: {}).add_node("b", lambda s: {})
    play = Play(builder.add_edge(START, "a").add_edge(START, "b").compile(backend="local"))
    play.start({"items": [1]})
    return play.of("a"), play.of("b")


def changed(start, **fields):
    return replace(start, request=replace(start.request, **fields))


def test_requests_of_a_group_come_as_they_are():
    sending, (start, _) = Sending(), starts()
    several = [changed(start, task_id=f"{number}", metadata={"n": [number]}) for number in range(3)]
    assert not sending.workers.submit([Group("a", several)])
    assert sending.requests() == [each.request for each in several]


def test_a_group_that_cannot_be_pickled_is_refused_and_none_is_sent():
    sending, (one, other) = Sending(), starts()
    thread = threading.Thread()
    for field, value in (("input", thread), ("metadata", {"key": thread})):
        bad, good = Group("a", [one, changed(one, **{field: value})]), Group("b", [other])
        refused = sending.workers.submit([bad, good])
        assert list(refused) == [bad]
        assert "threading.Thread cannot be pickled" in str(refused[bad])
        assert sending.sent == []
    assert not sending.workers.submit([Group("b", [other])])
    assert sending.requests() == [other.request]
