"""Classes as nodes, on the local backend: constructed once, called many times."""

import functools
import operator
import threading
from typing import Annotated

import pytest
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph
from distgraph.types import Send


class State(TypedDict, total=False):
    n: int
    out: Annotated[list, operator.add]


class Item(TypedDict):
    i: int


MADE = []


class Scaler:
    """Counts how often it is made; says which call of which instance it was."""

    def __init__(self, factor: int = 1) -> None:
        MADE.append(self)
        self.factor = factor
        self.calls = 0

    def __call__(self, item: Item, config) -> dict:
        self.calls += 1
        assert config["metadata"]["langgraph_node"] == "scale"
        return {"out": [item["i"] * self.factor]}


class Slow(Scaler):
    together = threading.Barrier(2)

    def __call__(self, item: Item) -> dict:
        self.together.wait(10)
        return {"out": [item["i"]]}


class Awaited:
    async def __call__(self, item: Item) -> dict:
        return {"out": [item["i"]]}


@pytest.fixture(autouse=True)
def nothing_made():
    MADE.clear()


def fan(action, **options):
    builder = StateGraph(State).add_node("scale", action, **options)
    packets = lambda s: [Send("scale", {"i": i}) for i in range(s["n"])]  # noqa: E731
    return builder.add_conditional_edges(START, packets, ["scale"]).compile(backend="local")


def test_one_instance_serves_every_task_of_every_run():
    graph = fan(functools.partial(Scaler, factor=3), ray_options={"concurrency": 1})
    for _ in range(2):
        assert graph.invoke({"n": 4, "out": []})["out"] == [0, 3, 6, 9]
    assert [made.calls for made in MADE] == [8]


def test_as_many_instances_as_the_pool_has_workers():
    graph = fan(Slow, ray_options={"concurrency": 2})
    assert graph.invoke({"n": 6, "out": []})["out"] == list(range(6))
    assert len(MADE) == 2


def test_a_class_with_an_async_call():
    assert fan(Awaited).invoke({"n": 3, "out": []})["out"] == [0, 1, 2]


def test_the_input_schema_is_that_of_the_call():
    assert fan(Scaler).spec.nodes["scale"].channels == ("i",)


def test_a_constructor_that_fails_is_the_nodes_error_and_is_tried_again():
    class Fails:
        def __init__(self):
            MADE.append(self)
            raise OSError("no such model")

        def __call__(self, item: Item) -> dict:
            return {}

    graph = fan(Fails, ray_options={"concurrency": 1})
    for _ in range(2):
        with pytest.raises(OSError, match="no such model"):
            graph.invoke({"n": 1, "out": []})
    assert len(MADE) == 2


def test_what_cannot_be_a_pool_is_refused_when_it_is_added():
    builder = StateGraph(State)
    with pytest.raises(TypeError, match=r"Node `a`: Needs cannot be constructed .*partial\(Needs"):

        class Needs:
            def __init__(self, path): ...

            def __call__(self, state): ...

        builder.add_node("a", Needs)
    with pytest.raises(TypeError, match="Node `b`: class 'Mute' has no __call__"):
        builder.add_node("b", type("Mute", (), {}))
    with pytest.raises(ValueError, match="Node `c`: ray_options\\['concurrency'\\] is for a class"):
        builder.add_node("c", lambda state: None, ray_options={"concurrency": 2})
    for size in (0, (2, 1), "many", True, (1, 2, 3)):
        with pytest.raises(ValueError, match=r"Node `d`: .*a number from 1, or \(fewest, most\)"):
            builder.add_node("d", Scaler, ray_options={"concurrency": size})
    with pytest.raises(ValueError, match="'placement' is not supported"):
        builder.add_node("e", Scaler, ray_options={"concurrency": 1, "placement": "task"})
