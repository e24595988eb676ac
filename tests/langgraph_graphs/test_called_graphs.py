"""LangGraph graphs that code of a node calls while the thread is saved: as in LangGraph itself."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, Send, interrupt
from typing_extensions import TypedDict

from tests.langgraph_graphs.support import Distributed, Reference, newest
from tests.support.differential import Differ
from tests.support.states import compare_story
from tests.support.threads import EVERY_MODE, compare_turns

pytestmark = newest


class Log(TypedDict):
    log: Annotated[list[Any], operator.add]


@pytest.fixture
def beside(backend: str) -> Differ:
    return Differ(Reference(), Distributed(backend))


def chain(*nodes: Any, **compiled: Any) -> Any:
    builder = StateGraph(Log).add_sequence(list(nodes))
    return builder.add_edge(START, nodes[0].__name__).compile(**compiled)


def outer(call: Any, *more: Any) -> Any:
    builder = StateGraph(Log).add_sequence([("call", call), ("after", after), *more])
    return builder.add_edge(START, "call")


def after(state: Log) -> dict[str, Any]:
    return {"log": [f"after {len(state['log'])}"]}


def first(state: Log) -> dict[str, Any]:
    get_stream_writer()("first")
    return {"log": [interrupt("first?")]}


def second(state: Log) -> dict[str, Any]:
    return {"log": [interrupt("second?"), interrupt("third?")]}


def plain(state: Log) -> dict[str, Any]:
    get_stream_writer()("plain")
    return {"log": [f"plain {len(state['log'])}"]}


def two_questions(ns: Any) -> Any:
    inner = chain(first, second)
    return outer(lambda state: inner.invoke({"log": []}))


def answers(*values: Any) -> list[Any]:
    return [{"log": ["in"]}, *(Command(resume=value) for value in values)]


def test_questions_of_two_nodes_and_twice_in_one(beside):
    compare_turns(beside, two_questions, answers(1, 2, 3), subgraphs=True)


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_durability(beside, durability):
    compare_turns(beside, two_questions, answers(1, 2, 3), subgraphs=True, durability=durability, faces=("sync",))


def awaiting(ns: Any) -> Any:
    inner = chain(first, second)

    async def call(state: Log) -> Any:
        return await inner.ainvoke({"log": []})

    return outer(call)


def test_awaited(beside):
    compare_turns(beside, awaiting, answers(1, 2, 3), subgraphs=True, faces=("async",))


def streaming(ns: Any) -> Any:
    inner = chain(plain, first)

    def call(state: Log) -> Any:
        writer, end = get_stream_writer(), {}
        for chunk in inner.stream({"log": []}, stream_mode=["updates", "custom"]):
            writer(("seen", chunk))
        for mode, chunk in inner.stream({"log": []}, stream_mode=["values"]):
            end = chunk
        return {"log": end["log"]}

    return outer(call)


def test_streamed_in_the_node(beside):
    compare_turns(beside, streaming, answers(1, 2), subgraphs=True)


def astreaming(ns: Any) -> Any:
    inner = chain(plain, first)

    async def call(state: Log) -> Any:
        writer, end = get_stream_writer(), {}
        async for chunk in inner.astream({"log": []}, stream_mode=["updates", "custom", "checkpoints"]):
            writer(("seen", chunk[0], list(chunk[1])))
        return {"log": ["end"]}

    return outer(call)


def test_astreamed_in_the_node(beside):
    compare_turns(beside, astreaming, answers(1, 2), subgraphs=True, faces=("async",))


def with_memory(ns: Any) -> Any:
    inner = chain(plain, first, checkpointer=InMemorySaver())

    def call(state: Log) -> Any:
        config = {"configurable": {"thread_id": "inner"}}
        inner.invoke({"log": ["q"]}, config)
        told = inner.invoke(Command(resume="by the node"), config)
        past = [s.next for s in inner.get_state_history(config)]
        inner.update_state(config, {"log": ["u"]})
        return {"log": [len(told["log"]), len(past), len(inner.get_state(config).values["log"])]}

    return outer(call)


def test_a_saver_of_its_own(beside):
    compare_turns(beside, with_memory, [{"log": []}, {"log": []}], subgraphs=True)


def awith_memory(ns: Any) -> Any:
    inner = chain(plain, first, checkpointer=InMemorySaver())

    async def call(state: Log) -> Any:
        config = {"configurable": {"thread_id": "inner"}}
        await inner.ainvoke({"log": ["q"]}, config)
        told = await inner.ainvoke(Command(resume="by the node"), config)
        past = [s.next async for s in inner.aget_state_history(config)]
        await inner.aupdate_state(config, {"log": ["u"]})
        now = (await inner.aget_state(config)).values["log"]
        return {"log": [len(told["log"]), len(past), len(now)]}

    return outer(call)


def test_a_saver_of_its_own_awaited(beside):
    compare_turns(beside, awith_memory, [{"log": []}, {"log": []}], subgraphs=True, faces=("async",))


def own_saver_same_thread(ns: Any) -> Any:
    inner = chain(plain, first, second, checkpointer=InMemorySaver())
    return outer(lambda state: inner.invoke({"log": []}))


def test_a_saver_of_its_own_with_questions_for_the_root(beside):
    compare_turns(beside, own_saver_same_thread, answers(1, 2, 3), subgraphs=True)


def with_history(ns: Any) -> Any:
    inner = chain(plain, first, checkpointer=True)
    return outer(lambda state: inner.invoke({"log": []}))


def test_a_history_of_its_own(beside):
    turns = [*answers(1), *answers(2)]
    compare_turns(beside, with_history, turns, subgraphs=True)


def reading(ns: Any) -> Any:
    inner = chain(plain, first, plain2, checkpointer=True)

    def call(state: Log, config: Any) -> Any:
        got = inner.invoke({"log": []}, config)
        return {"log": got["log"]}

    return outer(call)


def plain2(state: Log) -> dict[str, Any]:
    return {"log": ["plain2"]}


def story(t: Any) -> Any:
    t.invoke({"log": ["in"]})
    t.state(subgraphs=True)
    t.invoke(t.engine.Command(resume="yes"))
    t.state(subgraphs=True)
    past = t.history()
    t.invoke(None, past[-2].config)
    t.invoke(t.engine.Command(resume="again"))
    t.history()


@pytest.mark.parametrize("build", [two_questions, reading, with_history, own_saver_same_thread])
def test_states(beside, build):
    compare_story(beside, build, story)


def nested(ns: Any) -> Any:
    innermost = chain(first, second)

    def middle(state: Log) -> Any:
        return innermost.invoke({"log": []})

    inner = chain(middle, plain)

    def call(state: Log) -> Any:
        return inner.invoke({"log": []})

    return outer(call)


def test_nested(beside):
    compare_turns(beside, nested, answers(1, 2, 3), subgraphs=True)


def parallel(ns: Any) -> Any:
    inner = chain(plain, ask_it)

    def call(state: Any) -> Any:
        return inner.invoke({"log": [state["n"]]})

    builder = StateGraph(Log).add_node("call", call)
    builder.add_conditional_edges(START, lambda s: [Send("call", {"n": n}) for n in (1, 2, 3)], ["call"])
    return builder


def ask_it(state: Log) -> Any:
    return {"log": [interrupt(("ok?", state["log"][0]))]}


def by_id(engine: Any, outcomes: Any) -> Any:
    asked = [
        question
        for chunk in outcomes[-1].chunks
        if chunk[-2] == "updates" and "__interrupt__" in chunk[-1]
        for question in chunk[-1]["__interrupt__"]
    ]
    return Command(resume={q.id: f"a{q.value[1]}" for q in asked})


def test_parallel(beside):
    compare_turns(beside, parallel, [{"log": []}, by_id], stream_mode=["updates"], subgraphs=False, parallel=True)


def batch(ns: Any) -> Any:
    inner = chain(plain, plain2)

    def call(state: Any) -> Any:
        return {"log": [r["log"] for r in inner.batch([{"log": []}, {"log": [1]}])]}

    return outer(call)


def test_batch(beside):
    compare_turns(beside, batch, [{"log": []}], stream_mode=["values"])


def failing_once(ns: Any) -> Any:
    def fails(state: Log) -> Any:
        if interrupt("fail?") == "yes":
            raise ValueError("failed")
        return {"log": ["went on"]}

    inner = chain(plain, fails)
    return outer(lambda state: inner.invoke({"log": []}))


def test_an_error_inside(beside):
    compare_turns(beside, failing_once, [*answers("yes"), None, Command(resume="no")], subgraphs=True)


def to_parent(ns: Any) -> Any:
    def up(state: Log) -> Any:
        return Command(graph=Command.PARENT, update={"log": [interrupt("up?")]}, goto="after")

    inner = chain(plain, up)
    return outer(lambda state: inner.invoke({"log": []}))


def test_a_command_to_the_parent(beside):
    compare_turns(beside, to_parent, answers("yes"), subgraphs=True)


def extended(value: list, writes: list) -> list:
    return value + [item for write in writes for item in write]


class Journal(TypedDict):
    log: Annotated[list[Any], DeltaChannel(extended, snapshot_frequency=3)]


def deltas(ns: Any) -> Any:
    def jplain(state: Journal) -> Any:
        return {"log": [len(state["log"])]}

    def jask(state: Journal) -> Any:
        return {"log": [interrupt("j?")]}

    builder = StateGraph(Journal).add_sequence([jplain, jask])
    inner = builder.add_edge(START, "jplain").compile(checkpointer=True)
    return outer(lambda state: inner.invoke({"log": ["q"]}))


def test_deltas_inside(beside):
    compare_turns(beside, deltas, [*answers(1), *answers(2)], subgraphs=True)


def cached(ns: Any) -> Any:
    builder = StateGraph(Log).add_node("plain", plain, cache_policy=CachePolicy()).add_edge(START, "plain")
    inner = builder.compile(cache=InMemoryCache())

    def call(state: Any) -> Any:
        return inner.invoke({"log": []})

    return outer(call)


def test_a_cache_inside(beside):
    compare_turns(beside, cached, [{"log": []}, {"log": []}], subgraphs=True)


def with_tasks(ns: Any) -> Any:
    @task
    def double(x: int) -> int:
        return x * 2

    @task
    def ask(x: int) -> int:
        return interrupt(("more than", x))

    @entrypoint()
    def flow(x: int) -> list[int]:
        return [double(x).result(), ask(x).result(), double(x + 1).result()]

    return outer(lambda state: {"log": flow.invoke(len(state["log"]))})


def test_an_entrypoint_called(beside):
    compare_turns(beside, with_tasks, answers(5), subgraphs=True)


def entry(ns: Any) -> Any:
    inner = chain(plain, first)

    @task
    def called(x: int) -> Any:
        return inner.invoke({"log": [x]})["log"]

    class Holder:
        def compile(self, checkpointer: Any = None, **options: Any) -> Any:
            @entrypoint(checkpointer=checkpointer)
            def flow(x: Any) -> Any:
                return [called(1).result(), inner.invoke({"log": x})["log"]]

            return flow

    return Holder()


def test_called_in_a_task_and_in_an_entrypoint(beside):
    compare_turns(beside, entry, [["in"], Command(resume=1), Command(resume=2)], subgraphs=True, stream_mode=["updates", "values", "custom"])


def user_config(ns: Any) -> Any:
    import threading

    lock = threading.Lock

    inner = chain(plain, peek)

    def call(state: Log, config: Any) -> Any:
        mine = {"configurable": {"lock": lock(), "tenant": "t1"}, "tags": ["x"], "metadata": {"m": 1, "live": lock()}}
        return {"log": inner.invoke({"log": []}, mine)["log"]}

    return outer(call)


def peek(state: Log, config: Any) -> Any:
    c = config["configurable"]
    return {"log": [type(c["lock"]).__name__, c["tenant"], config["metadata"]["m"], sorted(k for k in c if not k.startswith("__"))]}


def test_user_config(beside):
    compare_turns(beside, user_config, [{"log": []}], subgraphs=True)
