"""References to objects in Ray's store, and actor handles, wherever a graph passes values."""

import gc
import time
from typing import Annotated, Any, TypedDict

import pytest
import ray

from distgraph.channels import UntrackedValue
from distgraph.config import get_store
from distgraph.errors import SerializationError
from distgraph.func import entrypoint, task
from distgraph.types import Command, Send

pytestmark = pytest.mark.ray

SIZE = 300_000
"""Bytes of an object that Ray keeps in its store, and not inline."""


def put(letter=b"x"):
    return ray.put(letter * SIZE)


def read(reference):
    return ray.get(reference, timeout=20)[:1] * (len(ray.get(reference, timeout=20)) == SIZE)


def appended(left, right):
    return [*(left or []), *right]


class State(TypedDict, total=False):
    held: Any
    all: Annotated[list, appended]
    seen: Annotated[list, appended]


def chain(engine, *nodes, **options):
    builder = engine.StateGraph(State).add_sequence(list(nodes))
    return engine.compile(builder.add_edge(engine.START, nodes[0][0]), **options)


def reads(state):
    time.sleep(0.2)  # whoever put it has dropped its own reference
    gc.collect()
    return {"seen": [read(state["held"]["ref"])]}


@pytest.mark.parametrize("options", [{}, {"num_cpus": 0.5}], ids=["batched", "task"])
def test_a_node_reads_what_another_has_put_and_so_does_the_caller(on_ray, options):
    builder = on_ray.StateGraph(State)
    builder.add_node("make", lambda state: {"held": {"ref": put()}}, ray_options=options)
    builder.add_node("read", reads, ray_options=options)
    graph = on_ray.compile(builder.add_edge(on_ray.START, "make").add_edge("make", "read"))
    end = graph.invoke({"seen": []})
    assert end["seen"] == [b"x"]
    assert read(end["held"]["ref"]) == b"x"


def test_async_nodes_read_them_too(on_ray):
    async def make(state):
        return {"held": {"ref": put()}}

    async def use(state):
        return {"seen": [(await state["held"]["ref"])[:1]]}

    assert chain(on_ray, ("make", make), ("use", use)).invoke({"seen": []})["seen"] == [b"x"]


def test_the_input_and_the_context_may_hold_them(on_ray):
    def use(state, runtime):
        return {"seen": [read(state["held"]), read(runtime.context["ref"])]}

    builder = on_ray.StateGraph(State, context_schema=dict).add_node("use", use)
    graph = on_ray.compile(builder.add_edge(on_ray.START, "use"))
    end = graph.invoke({"held": put(b"i")}, context={"ref": put(b"c")})
    assert end["seen"] == [b"i", b"c"]


def test_a_reducer_may_collect_them_from_parallel_sends(on_ray):
    def fan_out(state):
        return [Send("work", {"held": put(letter)}) for letter in (b"a", b"b", b"c")]

    builder = on_ray.StateGraph(State)
    builder.add_node("work", lambda state: {"all": [state["held"]], "seen": [read(state["held"])]})
    graph = on_ray.compile(builder.add_conditional_edges(on_ray.START, fan_out, ["work"]))
    end = graph.invoke({"all": []})
    assert end["seen"] == [b"a", b"b", b"c"]
    assert [read(reference) for reference in end["all"]] == end["seen"]


def test_chunks_of_a_stream_keep_them_alive_until_they_are_read(on_ray):
    def make(state, writer):
        for letter in (b"a", b"b"):
            writer({"ref": put(letter)})
        return Command(update={"held": put(b"u")})

    stream = chain(on_ray, ("make", make)).stream({}, stream_mode=["custom", "updates"])
    chunks = list(stream)
    gc.collect()
    assert [read(chunk["ref"]) for mode, chunk in chunks if mode == "custom"] == [b"a", b"b"]
    assert read(chunks[-1][1]["make"]["held"]) == b"u"


def test_large_values_may_hold_them(on_ray):
    def make(state):
        return {"held": {"ref": put(), "large": b"y" * SIZE}}

    assert chain(on_ray, ("make", make), ("read", reads)).invoke({})["seen"] == [b"x"]


def test_a_function_may_capture_one(on_ray):
    reference = put(b"g")
    graph = chain(on_ray, ("use", lambda state: {"seen": [read(reference)]}))
    assert graph.invoke({"seen": []})["seen"] == [b"g"]
    reference = put(b"h")
    assert graph.invoke({"seen": []})["seen"] == [b"h"]


def test_calls_of_tasks_and_their_results_may_hold_them(on_ray):
    @task
    def swap(reference):
        return read(reference), put(b"z")

    @entrypoint()
    def workflow(letter):
        first, made = swap(put(letter)).result()
        return first, read(made)

    assert workflow.invoke(b"q") == (b"q", b"z")


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0

    def up(self):
        self.count += 1
        return self.count


def test_an_actor_lives_as_long_as_a_state_holds_its_handle(on_ray):
    def make(state):
        return {"held": Counter.remote()}

    def use(state):
        return {"seen": [ray.get(state["held"].up.remote(), timeout=20)]}

    end = chain(on_ray, ("make", make), ("use", use)).invoke({"seen": []})
    assert end["seen"] == [1]
    assert ray.get(end["held"].up.remote(), timeout=20) == 2


def test_an_exception_may_hold_one(on_ray):
    class Partial(Exception):
        pass

    def fails(state):
        error = Partial("half done")
        error.done = put(b"e")
        raise error

    with pytest.raises(Exception, match="half done") as caught:
        chain(on_ray, ("fails", fails)).invoke({})
    assert read(caught.value.done) == b"e"


def test_a_saver_and_a_store_in_memory_keep_them(on_ray):
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.store.memory import InMemoryStore

    def make(state):
        get_store().put(("a",), "k", {"ref": put(b"s")})
        return {"held": {"ref": put()}}

    def ask(state):
        return {"seen": [on_ray.interrupt({"ref": put(b"q")})]}

    def use(state):
        stored = get_store().get(("a",), "k").value["ref"]
        return {"seen": [read(state["held"]["ref"]), read(stored)]}

    config = {"configurable": {"thread_id": "1"}}
    nodes = [("make", make), ("ask", ask), ("use", use)]
    graph = chain(on_ray, *nodes, checkpointer=InMemorySaver(), store=InMemoryStore())
    (asked,) = graph.invoke({"seen": []}, config)["__interrupt__"]
    assert read(asked.value["ref"]) == b"q"
    del asked
    gc.collect()
    assert read(graph.get_state(config).tasks[0].interrupts[0].value["ref"]) == b"q"
    assert read(graph.get_state(config).values["held"]["ref"]) == b"x"
    end = graph.invoke(on_ray.Command(resume="yes"), config)
    assert end["seen"] == ["yes", b"x", b"s"]
    assert read(graph.get_state(config).values["held"]["ref"]) == b"x"


def test_a_cache_in_memory_keeps_them(on_ray, tmp_path):
    from langgraph.cache.memory import InMemoryCache

    ran = tmp_path / "ran"

    def make(state):
        with ran.open("a") as file:
            file.write("x")
        return {"held": {"ref": put()}}

    def use(state):
        return {"seen": [read(state["held"]["ref"])]}

    builder = on_ray.StateGraph(State).add_node("make", make, cache_policy=on_ray.CachePolicy())
    builder.add_node("use", use).add_edge(on_ray.START, "make").add_edge("make", "use")
    graph = on_ray.compile(builder, cache=InMemoryCache())
    for _ in range(2):
        assert graph.invoke({"seen": []})["seen"] == [b"x"]
        gc.collect()
    assert ran.read_text() == "x"


def test_in_a_thread_that_a_file_saves_they_are_refused_by_node_and_key(on_ray, tmp_path):
    from langgraph.checkpoint.sqlite import SqliteSaver

    config = {"configurable": {"thread_id": "1"}}
    with SqliteSaver.from_conn_string(str(tmp_path / "saved.sqlite")) as saver:
        refused(chain(on_ray, ("make", lambda state: {"held": put()}), checkpointer=saver), config)


def refused(graph, config):
    with pytest.raises(SerializationError, match="node 'make'.* its write of 'held' holds"):
        graph.invoke({"seen": []}, config)
    with pytest.raises(SerializationError, match="input holds a reference"):
        graph.invoke({"held": put()}, config)


def test_a_key_that_is_not_saved_may_hold_one_in_a_saved_thread(on_ray):
    from langgraph.checkpoint.memory import InMemorySaver

    class Saved(TypedDict, total=False):
        held: Annotated[Any, UntrackedValue]
        seen: Annotated[list, appended]

    builder = on_ray.StateGraph(Saved)
    builder.add_sequence([("make", lambda state: {"held": {"ref": put()}}), ("read", reads)])
    graph = on_ray.compile(builder.add_edge(on_ray.START, "make"), checkpointer=InMemorySaver())
    end = graph.invoke({"seen": []}, {"configurable": {"thread_id": "1"}})
    assert end["seen"] == [b"x"]
