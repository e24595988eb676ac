"""Ports of a session: those that its caller names, also on a cluster that was started without."""

from __future__ import annotations

import os
import socket

import pytest

from distgraph.streaming.limits import limits_from_environment
from tests.support.graphs import Numbers

pytestmark = pytest.mark.ray


def free_range(size: int) -> tuple[int, int]:
    """Return the first and last of so many ports that nobody listens on."""
    for first in range(23_000 + os.getpid() % 1000, 60_000, size):
        sockets = [socket.socket() for _ in range(size)]
        try:
            for number, sock in enumerate(sockets):
                sock.bind(("0.0.0.0", first + number))
            return first, first + size - 1
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
    raise AssertionError("no free ports")


def test_driver_and_broker_listen_on_the_ports_that_their_caller_names(on_ray, monkeypatch):
    import ray

    import actors
    from actors import sessions
    from actors.lease_frames import WorkerTicket

    first, last = free_range(3)
    monkeypatch.setenv("DISTGRAPH_PORTS", f"{first}-{last}")
    actors.end_session()
    try:
        builder = on_ray.StateGraph(Numbers).add_node("n", lambda state: {"items": [1]})
        graph = on_ray.compile(builder.add_edge(on_ray.START, "n"))
        assert graph.invoke({"items": []})["items"] == [1]
        session = sessions.current()
        of_driver = WorkerTicket.read(ray.get(session.driver.entrance.remote())).address[1]
        of_broker = ray.get(session.broker.address.remote())[0].port
        assert sorted([of_driver, of_broker]) == [first + 1, last]
    finally:
        actors.end_session()


def test_a_mirror_listens_on_the_ports_that_the_caller_of_its_session_names(on_ray, monkeypatch):
    import ray

    from actors.cluster import NAMESPACE
    from actors.mirror import start_mirror

    first, last = free_range(1)
    monkeypatch.setenv("DISTGRAPH_PORTS", f"{first}-{last}")
    mirror = start_mirror("ports", limits_from_environment(), {"namespace": NAMESPACE})
    try:
        assert ray.get(mirror.address.remote())[0].port == first
    finally:
        ray.kill(mirror)
