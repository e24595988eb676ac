"""A state of megabytes goes through nodes and packets whole."""

import hashlib
import operator
import time
from typing import Annotated

import pytest
from typing_extensions import TypedDict

pytestmark = pytest.mark.ray

SIZE = 5_000_000


class State(TypedDict, total=False):
    blob: bytes
    digests: Annotated[list[str], operator.add]


def digest(state):
    return {"digests": [hashlib.sha256(state["blob"]).hexdigest()]}


def turn(state):
    return {"blob": state["blob"][::-1]}


BLOB = bytes(i % 251 for i in range(1000)) * (SIZE // 1000)
HERE = hashlib.sha256(BLOB).hexdigest()
THERE = hashlib.sha256(BLOB[::-1]).hexdigest()


def test_a_large_state_through_several_nodes(on_ray):
    names = ["d1", "turn", "d2"]
    builder = on_ray.StateGraph(State).add_sequence(
        [("d1", digest), ("turn", turn), ("d2", digest)]
    )
    graph = on_ray.compile(builder.add_edge(on_ray.START, names[0]))
    begin = time.perf_counter()
    chunks = list(graph.stream({"blob": BLOB}, stream_mode=["values", "updates"]))
    print(f"5 MB through 3 nodes, all values streamed: {time.perf_counter() - begin:.2f} s")
    values = [payload for mode, payload in chunks if mode == "values"]
    assert [hashlib.sha256(v["blob"]).hexdigest() for v in values] == [HERE, HERE, THERE, THERE]
    assert values[-1]["digests"] == [HERE, THERE]


def test_a_large_state_read_by_parallel_nodes(on_ray):
    builder = on_ray.StateGraph(State)
    for i in range(8):
        builder.add_node(f"d{i}", digest).add_edge(on_ray.START, f"d{i}")
    assert on_ray.compile(builder).invoke({"blob": BLOB})["digests"] == [HERE] * 8


def test_large_packets(on_ray):
    builder = on_ray.StateGraph(State).add_node("d", digest)
    builder.add_conditional_edges(
        on_ray.START,
        lambda s: [on_ray.Send("d", {"blob": s["blob"][: SIZE // (i + 1)]}) for i in range(4)],
        ["d"],
    )
    result = on_ray.compile(builder).invoke({"blob": BLOB})
    assert result["digests"] == [
        hashlib.sha256(BLOB[: SIZE // (i + 1)]).hexdigest() for i in range(4)
    ]


def test_a_large_state_in_a_subgraph(on_ray):
    child = on_ray.StateGraph(State).add_sequence([("turn", turn), ("digest", digest)])
    child = child.add_edge(on_ray.START, "turn").compile()
    builder = on_ray.StateGraph(State).add_node("child", child).add_edge(on_ray.START, "child")
    result = on_ray.compile(builder).invoke({"blob": BLOB})
    assert result["blob"] == BLOB[::-1]
    assert result["digests"] == [THERE]


def test_a_large_module_array_that_a_node_captures(on_ray):
    captured = BLOB

    def node(state):
        return {"digests": [hashlib.sha256(captured).hexdigest()]}

    builder = on_ray.StateGraph(State).add_node("n", node).add_edge(on_ray.START, "n")
    graph = on_ray.compile(builder)
    assert graph.invoke({"blob": b""})["digests"] == [HERE]
    assert graph.invoke({"blob": b""})["digests"] == [HERE]
