"""The end of a run of which nothing is streamed goes from the driver to its caller."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.graphs import Items

pytestmark = pytest.mark.ray

LARGE = 1 << 20


def listed(state: Items) -> dict[str, Any]:
    (asked,) = state["items"]
    if asked == "fail":
        raise LookupError("asked for")
    if isinstance(asked, Path):
        asked.with_name("begun").touch()
        while not asked.exists():
            time.sleep(0.01)
    return {"items": ["x" * LARGE if asked == "large" else "small"]}


def graph_of(ns: Any) -> Any:
    return ns.compile(ns.StateGraph(Items).add_node("n", listed).add_edge(ns.START, "n"))


def logged() -> int:
    """Return how many events have entered logs of the session's broker."""
    import ray

    from actors import sessions

    count: int = ray.get(sessions.current().broker.load.remote()).events
    return count


def test_a_run_that_is_not_streamed_leaves_nothing_with_the_broker(on_ray: Any) -> None:
    graph = graph_of(on_ray)
    graph.invoke({"items": [""]})
    before = logged()
    assert graph.invoke({"items": [""]}) == {"items": ["", "small"]}
    assert asyncio.run(graph.ainvoke({"items": [""]})) == {"items": ["", "small"]}
    with pytest.raises(LookupError, match="asked for"):
        graph.invoke({"items": ["fail"]})
    assert logged() == before
    assert list(graph.stream({"items": [""]})) == [{"n": {"items": ["small"]}}]
    assert logged() == before + 2


def test_a_large_end_goes_by_the_broker(on_ray: Any) -> None:
    graph = graph_of(on_ray)
    graph.invoke({"items": [""]})
    before = logged()
    assert graph.invoke({"items": ["large"]}) == {"items": ["large", "x" * LARGE]}
    assert logged() == before + 1


def test_the_end_of_a_run_arrives_though_the_connection_to_the_driver_ends(
    on_ray: Any, tmp_path: Path
) -> None:
    from actors import sessions

    graph, gate = graph_of(on_ray), tmp_path / "gate"
    graph.invoke({"items": [""]})
    session = sessions.current()
    link = session._reads._link
    assert link is not None
    while session._reads._left or link._waiting:
        time.sleep(0.01)  # the broker does not know yet that the caller has left that run
    before, found = logged(), list[Any]()
    reader = threading.Thread(target=lambda: found.append(graph.invoke({"items": [gate]})))
    reader.start()
    while not gate.with_name("begun").exists():
        time.sleep(0.01)
    connection = session._way.connection
    assert connection is not None
    connection.close()
    gate.touch()
    reader.join(30)
    assert found == [{"items": [gate, "small"]}]
    assert logged() == before + 1
    assert graph.invoke({"items": [""]}) == {"items": ["", "small"]}
    assert logged() == before + 1
