"""LangGraph graphs that code of a node calls while the thread is saved: as in LangGraph itself."""

from __future__ import annotations

import asyncio
import operator
import tempfile
import threading
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, Send, interrupt
from typing_extensions import TypedDict

from tests.langgraph_graphs.support import Distributed, Reference, newest, reference_awaits
from tests.support.differential import Differ, assert_same
from tests.support.models import CallingModel
from tests.support.normalise import normalise
from tests.support.states import compare_story
from tests.support.threads import EVERY_MODE, compare_turns

create_agent = pytest.importorskip("langchain.agents", reason="needs langchain").create_agent

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
    compare_turns(
        beside,
        two_questions,
        answers(1, 2, 3),
        subgraphs=True,
        durability=durability,
        faces=("sync",),
    )


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
        seen = [str(c) for c in inner.stream({"log": []}, stream_mode=["updates", "custom"])]
        values = list(inner.stream({"log": []}))
        return {"log": [*seen, *values[-1]["first"]["log"]]}

    return outer(call)


def test_streamed_in_the_node(beside):
    compare_turns(beside, streaming, answers(1, 2, 3), subgraphs=True, faces=("sync",))


def astreaming(ns: Any) -> Any:
    inner = chain(plain, first)

    async def call(state: Log) -> Any:
        modes = ["updates", "checkpoints"]
        return {"log": [mode async for mode, _ in inner.astream({"log": []}, stream_mode=modes)]}

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
    compare_turns(
        beside, awith_memory, [{"log": []}, {"log": []}], subgraphs=True, faces=("async",)
    )


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

    def call(state: Log, config: RunnableConfig) -> Any:
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


def again_and_again(ns: Any) -> Any:
    """The node that calls runs twice in a run."""
    inner = chain(plain, checkpointer=True)

    def route(state: Log) -> str:
        return "call" if len(state["log"]) < 8 else "after"

    builder = StateGraph(Log).add_node("call", lambda state: inner.invoke({"log": []}))
    builder.add_node("after", after).add_edge(START, "call")
    return builder.add_conditional_edges("call", route, ["call", "after"])


def going_back(t: Any) -> None:
    t.invoke({"log": ["in"]})
    for past in t.history():
        t.invoke(None, past.config)


def test_a_history_goes_back_with_the_root(beside):
    compare_story(beside, again_and_again, going_back, faces=("sync",))


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
    builder.add_conditional_edges(
        START, lambda s: [Send("call", {"n": n}) for n in (1, 2, 3)], ["call"]
    )
    return builder


def ask_it(state: Log) -> Any:
    return {"log": [interrupt(("ok?", state["log"][0]))]}


def test_questions_of_parallel_calls(beside):
    compare_story(beside, parallel, answered_by_id)


def answered_by_id(t: Any) -> None:
    asked = sorted(t.invoke({"log": []})["__interrupt__"], key=lambda q: q.value)
    t.invoke(Command(resume={q.id: f"answer {q.value[1]}" for q in asked[:2]}))
    left = t.state(subgraphs=True).interrupts
    t.invoke(Command(resume={q.id: "last" for q in left}))


def batch(ns: Any) -> Any:
    inner = chain(plain, plain2)

    def call(state: Any) -> Any:
        return {
            "log": [
                r["log"] for r in inner.batch([{"log": []}, {"log": [1]}], {"max_concurrency": 1})
            ]
        }

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
    compare_turns(
        beside, failing_once, [*answers("yes"), None, Command(resume="no")], subgraphs=True
    )


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
    builder = (
        StateGraph(Log)
        .add_node("plain", plain, cache_policy=CachePolicy())
        .add_edge(START, "plain")
    )
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

    def make(checkpointer: Any) -> Any:
        @entrypoint(checkpointer=checkpointer)
        def flow(x: Any) -> Any:
            return [called(1).result(), inner.invoke({"log": x})["log"]]

        return flow

    return Made(make)


def test_called_in_a_task_and_in_an_entrypoint(beside):
    compare_turns(
        beside,
        entry,
        [["in"], Command(resume=1), Command(resume=2)],
        subgraphs=True,
        stream_mode=["updates", "values", "custom"],
    )


def iter_of() -> Any:
    """Make what exists in one process only."""
    return (item for item in ())


def user_config(ns: Any) -> Any:
    inner = chain(plain, peek)

    def call(state: Log) -> Any:
        mine = {
            "configurable": {"live": iter_of(), "tenant": "t1"},
            "tags": ["x"],
            "metadata": {"m": 1, "live": iter_of()},
        }
        return inner.invoke({"log": []}, mine)

    return outer(call)


def peek(state: Log, config: RunnableConfig) -> Any:
    c = config["configurable"]
    return {
        "log": [
            type(c["live"]).__name__,
            c["tenant"],
            config["metadata"]["m"],
            sorted(k for k in c if not k.startswith("__")),
        ]
    }


@pytest.mark.parametrize("mode", ["values", "checkpoints"])
def test_a_config_with_live_objects_of_the_node(beside, mode):
    if mode == "values" or beside.contender.backend == "local":
        compare_turns(beside, user_config, [{"log": []}], subgraphs=True, stream_mode=[mode])
    else:  # the reader of the stream is in another process
        graph = beside.contender.compile(user_config(None), checkpointer=InMemorySaver())
        thread = {"configurable": {"thread_id": "t"}}
        chunks = list(graph.stream({"log": []}, thread, stream_mode=mode, subgraphs=True))
        given = [c["config"]["configurable"] for ns, c in chunks if ns]
        assert [(c["tenant"], c["live"].kind) for c in given] == [("t1", "builtins.generator")] * 4


class Audited(InMemorySaver):
    """With methods and a property of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    async def anote(self, text: str) -> int:
        return self.note(text)

    async def atexts(self) -> Any:
        for text in self.notes:
            yield text

    @property
    def count(self) -> int:
        return len(self.notes)


def auditing(ns: Any) -> Any:
    saver = Audited()
    inner = chain(plain, first, checkpointer=saver)

    async def call(state: Log) -> Any:
        told = [saver.note("a"), await saver.anote("b"), saver.count]
        told += [text async for text in saver.atexts()]
        got = await inner.ainvoke({"log": []}, {"configurable": {"thread_id": "own"}})
        saver.delete_thread("own")
        return {
            "log": [
                *told,
                len(got["__interrupt__"]),
                inner.get_state({"configurable": {"thread_id": "own"}}).values,
            ]
        }

    return outer(call)


def test_methods_of_the_users_own_saver(beside):
    compare_turns(beside, auditing, [{"log": []}], stream_mode=["values"], faces=("async",))


def sqlite() -> Any:
    return SqliteSaver.from_conn_string(":memory:")


@contextmanager
def sqlite_file() -> Any:
    with (
        tempfile.TemporaryDirectory() as folder,
        SqliteSaver.from_conn_string(f"{folder}/threads.sqlite") as saver,
    ):
        yield saver


class Upper:
    """A serializer of the user's own, which cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inner = JsonPlusSerializer()

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        with self.lock:
            kind, data = self.inner.dumps_typed(obj)
        return kind, data[::-1]

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return self.inner.loads_typed((data[0], data[1][::-1]))


def own_serializer() -> Any:
    return nullcontext(InMemorySaver(serde=Upper()))


@pytest.mark.parametrize("saver", [sqlite, sqlite_file, own_serializer])
def test_other_savers(beside, saver):
    compare_turns(
        beside, two_questions, answers(1, 2, 3), subgraphs=True, saver=saver, faces=("sync",)
    )


@reference_awaits
def test_an_asynchronous_saver_of_the_callers_loop(beside, tmp_path):
    async def told(engine: Any) -> Any:
        found = []
        path = str(tmp_path / f"{type(engine).__name__}.sqlite")
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            graph = engine.compile(awaiting(engine), checkpointer=saver)
            for turn in answers(1, 2, 3):
                chunks = graph.astream(turn, thread, stream_mode=EVERY_MODE, subgraphs=True)
                found.append(normalise([chunk async for chunk in chunks]))
        return found

    thread = {"configurable": {"thread_id": "t"}}
    got, want = (asyncio.run(told(e)) for e in (beside.contender, beside.reference))
    assert_same("chunks", got, want)


# --- agents ---------------------------------------------------------------------------------------


class Made:
    """What ``make(checkpointer=...)`` returns, as something that is compiled."""

    def __init__(self, make: Any) -> None:
        self.compile = make


def agents(**helper: Any) -> Any:
    """A supervisor that calls a helper twice at once, and again after the answers."""

    @tool
    def look(text: str) -> str:
        """Look."""
        return f"<{text}: {interrupt(('may I?', text))}>"

    @tool
    def research(text: str) -> str:
        """Research."""
        helping = create_agent(
            CallingModel(calls=[("look", {"text": text})]), [look], name="helper", **helper
        )
        return str(helping.invoke({"messages": [HumanMessage(text)]})["messages"][-1].content)

    model = CallingModel(calls=[("research", {"text": "a"}), ("research", {"text": "b"})])
    return lambda ns: Made(partial(create_agent, model, [research]))


def conversation(t: Any) -> None:
    for question in ("one", "two"):
        asked = t.invoke({"messages": [HumanMessage(question)]})["__interrupt__"]
        t.state(subgraphs=True)
        t.invoke(Command(resume={q.id: f"yes {q.value[1]}" for q in asked}))


def test_sub_agents_in_parallel_tool_calls_ask(beside):
    compare_story(beside, agents(), conversation)


def test_a_sub_agent_with_a_saver_of_its_own(beside):
    saver = InMemorySaver()

    def helpers(ns: Any) -> Any:
        helping = create_agent(CallingModel(), [], name="helper", checkpointer=saver)

        @tool
        def remember(text: str) -> str:
            """Remember."""
            thread = {"configurable": {"thread_id": f"{type(ns).__name__} helper"}}
            told = helping.invoke({"messages": [HumanMessage(text)]}, thread)["messages"]
            return f"{len(told)} messages"

        model = CallingModel(calls=[("remember", {"text": "a"})])
        return Made(partial(create_agent, model, [remember]))

    turns = [{"messages": [HumanMessage(text, id=text)]} for text in ("one", "two")]
    modes = ["updates", "messages", "values"]
    compare_turns(beside, helpers, turns, subgraphs=True, stream_mode=modes)
    assert len({t.config["configurable"]["thread_id"] for t in saver.list(None)}) == 2
