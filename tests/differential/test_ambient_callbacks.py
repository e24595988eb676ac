"""Callbacks, tags and values that nobody puts into the config: of chains and LangChain itself."""

import threading
from typing import Annotated

import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs, tracing_v2_enabled
from langsmith import get_current_run_tree, traceable, tracing_context
from typing_extensions import TypedDict


def joined(left, right):
    return left + right


class State(TypedDict, total=False):
    text: Annotated[str, joined]


class Metered(BaseChatModel):
    @property
    def _llm_type(self):
        return "metered"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        reply = AIMessage(
            "hi",
            usage_metadata={"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
            response_metadata={"model_name": "metered-1"},
        )
        return ChatResult(generations=[ChatGeneration(message=reply)])


class Tree(BaseCallbackHandler):
    """Records each run: its path of names, its tags, and what became of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.names = {None: ""}
        self.runs = {}

    def begin(self, kind, run_id, parent_run_id, name, tags):
        with self.lock:
            parent = self.names.get(parent_run_id, "?")
            self.names[run_id] = f"{parent} > {name or kind}".removeprefix(" > ")
            self.runs[run_id] = [self.names[run_id], sorted(tags or ()), None]

    def end(self, run_id, how):
        self.runs[run_id][2] = how if self.runs[run_id][2] is None else "ended twice"

    def on_chain_start(self, serialized, inputs, *, run_id, **k):
        self.begin("chain", run_id, k.get("parent_run_id"), k.get("name"), k.get("tags"))

    def on_chat_model_start(self, serialized, messages, *, run_id, **k):
        self.begin("model", run_id, k.get("parent_run_id"), "model", k.get("tags"))

    def on_chain_end(self, outputs, *, run_id, **k):
        self.end(run_id, "ok")

    def on_chain_error(self, error, *, run_id, **k):
        self.end(run_id, type(error).__name__)

    def on_llm_end(self, response, *, run_id, **k):
        self.end(run_id, "ok")

    @property
    def shown(self):
        return [tuple(run) for run in self.runs.values()]


def say(state):
    return {"text": Metered().invoke("x").content}


def one_node(ns, node=say):
    return ns.compile(ns.StateGraph(State).add_node("say", node).add_edge(ns.START, "say"))


def test_a_chain_around_a_graph_gives_it_handlers_tags_and_values(engine):
    def who(state, config):
        Metered().invoke("x")
        return {"text": config["configurable"]["user"]}

    graph, tree = one_node(engine, who), Tree()
    chain = RunnableLambda(lambda text: graph.invoke({"text": text}), name="outer")
    config = {"callbacks": [tree], "tags": ["mine"], "configurable": {"user": "ann"}}
    assert chain.invoke("by ", config) == {"text": "by ann"}
    assert tree.shown == [
        ("outer", ["mine"], "ok"),
        ("outer > LangGraph", ["mine"], "ok"),
        ("outer > LangGraph > say", ["graph:step:1", "mine"], "ok"),
        ("outer > LangGraph > say > model", ["mine", "seq:step:1"], "ok"),
    ]


def test_runs_are_collected_in_a_graph_that_a_node_calls(engine):
    child = engine.StateGraph(State).add_node("say", say).add_edge(engine.START, "say")
    inner = child.compile(name="inner")
    graph = one_node(engine, lambda state: inner.invoke({"text": ""}))
    with collect_runs() as collected:
        graph.invoke({"text": ""})
    assert [run.name for run in collected.traced_runs] == ["Metered", "inner", "LangGraph"]


def test_a_called_graph_is_collected_that_runs_no_model(engine):
    def plain(state):
        return {"text": "x"}

    child = engine.StateGraph(State).add_node("say", plain).add_edge(engine.START, "say")
    inner = child.compile(name="inner")
    graph = one_node(engine, lambda state: inner.invoke({"text": ""}))
    with collect_runs() as collected:
        graph.invoke({"text": ""})
    assert [run.name for run in collected.traced_runs] == ["inner", "LangGraph"]


def test_a_graph_that_is_a_node_is_collected_by_itself(engine):
    child = engine.StateGraph(State).add_node("say", say).add_edge(engine.START, "say")
    graph = one_node(engine, child.compile(name="inner"))
    with collect_runs() as collected:
        graph.invoke({"text": ""})
    assert [run.name for run in collected.traced_runs] == ["Metered", "inner", "LangGraph"]


def test_a_subgraph_and_a_conditional_edge_are_runs_of_their_own(engine):
    def route(state):
        return "__end__"

    child = engine.StateGraph(State).add_node("say", say).add_edge(engine.START, "say")
    builder = engine.StateGraph(State).add_node("sub", child.compile(name="child"))
    builder.add_edge(engine.START, "sub").add_conditional_edges("sub", route, ["__end__"])
    tree = Tree()
    engine.compile(builder).invoke({"text": ""}, {"callbacks": [tree]})
    assert tree.shown == [
        ("LangGraph", [], "ok"),
        ("LangGraph > sub", ["graph:step:1"], "ok"),
        ("LangGraph > sub > child", ["seq:step:1"], "ok"),
        ("LangGraph > sub > child > say", ["graph:step:1"], "ok"),
        ("LangGraph > sub > child > say > model", ["seq:step:1"], "ok"),
        ("LangGraph > sub > route", ["seq:step:3"], "ok"),
    ]


@pytest.mark.parametrize("passes", [False, True], ids=["ambient", "config passed on"])
def test_a_graph_that_a_node_calls_is_a_part_of_the_node(engine, passes):
    child = engine.StateGraph(State).add_node("say", say).add_edge(engine.START, "say")
    child = child.compile(name="child")

    def call(state, config):
        return child.invoke({"text": ""}, config if passes else None)

    tree = Tree()
    one_node(engine, call).invoke({"text": ""}, {"callbacks": [tree]})
    assert [name for name, _, _ in tree.shown] == [
        "LangGraph",
        "LangGraph > say",
        "LangGraph > say > child",
        "LangGraph > say > child > say",
        "LangGraph > say > child > say > model",
    ]
    assert {how for _, _, how in tree.shown} == {"ok"}


def test_what_fails_inside_a_subgraph_fails_all_around_it(engine):
    def boom(state):
        raise LookupError("nothing there")

    child = engine.StateGraph(State).add_node("boom", boom).add_edge(engine.START, "boom")
    builder = engine.StateGraph(State).add_node("sub", child.compile(name="child"))
    tree = Tree()
    with pytest.raises(LookupError):
        engine.compile(builder.add_edge(engine.START, "sub")).invoke({}, {"callbacks": [tree]})
    assert [(name, how) for name, _, how in tree.shown] == [
        ("LangGraph", "LookupError"),
        ("LangGraph > sub", "LookupError"),
        ("LangGraph > sub > child", "LookupError"),
        ("LangGraph > sub > child > boom", "LookupError"),
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_handlers_are_told_once_in_any_order_of_them(engine, reverse):
    def say(state, config):  # LangChain gives managers that it merges the handlers in any order
        manager = config["callbacks"].copy()
        for handlers in (manager.handlers, manager.inheritable_handlers):
            handlers.sort(key=lambda handler: type(handler).__name__, reverse=reverse)
        return {"text": Metered().invoke("x", {"callbacks": manager}).content}

    tree = Tree()
    with get_usage_metadata_callback() as usage:
        one_node(engine, say).invoke({"text": ""}, {"callbacks": [tree]})
    assert usage.usage_metadata["metered-1"]["total_tokens"] == 12
    assert [(name, how) for name, _, how in tree.shown] == [
        ("LangGraph", "ok"),
        ("LangGraph > say", "ok"),
        ("LangGraph > say > model", "ok"),
    ]


def test_the_token_bill_counts_each_model_once(engine):
    def apart(state):  # its own callbacks take the place of what it would inherit
        Metered().invoke("x", {"callbacks": []})
        return say(state)

    with get_usage_metadata_callback() as usage:
        one_node(engine, apart).invoke({"text": ""})
    assert usage.usage_metadata["metered-1"]["total_tokens"] == 24


def test_the_run_collector_has_the_graph_and_the_models_as_roots(engine):
    with collect_runs() as collected:
        one_node(engine).invoke({"text": ""})
    # the model has the collector too, as LangChain configures it anew for each model
    assert [run.name for run in collected.traced_runs] == ["Metered", "LangGraph"]


class Client:
    """Stands for LangSmith's client: keeps what it is told of runs."""

    otel_exporter = None

    def __init__(self):
        self.lock = threading.Lock()
        self.runs = {}

    def create_run(self, name, inputs, run_type, **told):
        with self.lock:
            assert str(told["id"]) not in self.runs, f"{name} is traced twice"
            self.runs[str(told["id"])] = {**told, "name": name}

    def update_run(self, run_id, **told):
        with self.lock:
            run = self.runs[str(run_id)]
            run["ends"], run["last"] = run.get("ends", 0) + 1, told

    def lineage(self, run_id):
        run = self.runs[run_id]
        parent = run.get("parent_run_id")
        return [*(self.lineage(str(parent)) if parent else ()), run_id]

    @property
    def paths(self):
        """Names from the root on. Places in the trace are checked."""
        found = []
        for run_id, run in self.runs.items():
            ids = self.lineage(run_id)
            assert [part.partition("Z")[2] for part in run["dotted_order"].split(".")] == ids
            assert str(run["trace_id"]) == ids[0]
            assert run["ends"] == 1
            found.append(" > ".join(self.runs[each]["name"] for each in ids))
        return sorted(found)


@traceable(name="helper")
def helper(text):
    return Metered().invoke(text).content


def traced(state):
    Metered().invoke("x", {"callbacks": []})  # inherits nothing, and is traced all the same
    return {"text": helper("go")}


INSIDE = ["", " > say", " > say > Metered", " > say > helper", " > say > helper > Metered"]


def test_a_tracer_that_is_switched_on_has_one_trace_with_traceable_functions_in_it(engine):
    client = Client()
    with tracing_v2_enabled(client=client):
        one_node(engine, traced).invoke({"text": ""})
    assert client.paths == [f"LangGraph{part}" for part in INSIDE]


def changes_its_run(state):
    run = get_current_run_tree()
    run.add_tags(["late"])
    run.add_metadata({"who": "ann"})
    with tracing_context(enabled=False):
        helper("hidden")
        Metered().invoke("hidden")
    return {"text": f"{run.name} {run.run_type} {sorted(run.tags)} {run.metadata['user']}"}


def test_code_sees_its_own_run_and_may_change_it_or_leave_something_out(engine):
    client = Client()
    with tracing_context(enabled=True, client=client):
        graph = one_node(engine, changes_its_run)
        said = graph.invoke({"text": ""}, {"metadata": {"user": "u1"}, "tags": ["mine"]})["text"]
    assert said == "say chain ['graph:step:1', 'late', 'mine'] u1"
    assert client.paths == ["LangGraph", "LangGraph > say"]
    (run,) = (run for run in client.runs.values() if run["name"] == "say")
    assert sorted(run["last"]["tags"]) == ["graph:step:1", "late", "mine"]
    told = run["last"]["extra"]["metadata"]
    assert {key: told[key] for key in ("who", "user", "langgraph_node")} == {
        "who": "ann",
        "user": "u1",
        "langgraph_node": "say",
    }


def test_a_traceable_function_in_a_node_has_the_metadata_and_the_project_of_the_node(engine):
    client = Client()
    with tracing_context(
        enabled=True, client=client, project_name="mine", tags=["all"], metadata={"of": "all"}
    ):
        one_node(engine, traced).invoke({"text": ""}, {"metadata": {"user": "u1"}})
    (run,) = (run for run in client.runs.values() if run["name"] == "helper")
    told = run["extra"]["metadata"]
    assert (told["user"], told["langgraph_node"], told["langgraph_step"]) == ("u1", "say", 1)
    assert (run["tags"], told["of"]) == (["all"], "all")
    assert {run["session_name"] for run in client.runs.values()} == {"mine"}


def test_a_traceable_function_around_a_run_is_the_root_of_its_trace(engine):
    client, graph = Client(), one_node(engine, traced)

    @traceable(name="request")
    def request():
        return graph.invoke({"text": ""})

    with tracing_context(enabled=True, client=client):
        request()
    assert client.paths == ["request", *(f"request > LangGraph{part}" for part in INSIDE)]


def test_nothing_is_traced_where_the_caller_switched_it_off(engine, monkeypatch):
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    client = Client()
    with tracing_context(enabled=False, client=client):
        one_node(engine, traced).invoke({"text": ""})
    assert client.paths == []


def test_a_run_that_is_left_ends_for_its_handlers(ours):
    def talk(state):
        writer = ours.get_stream_writer()
        writer("one")
        return {"text": "done"}

    tree = Tree()
    chunks = one_node(ours, talk).stream({"text": ""}, {"callbacks": [tree]}, stream_mode="custom")
    next(chunks)
    chunks.close()
    assert [(name, how) for name, _, how in tree.shown] == [
        ("LangGraph", "GeneratorExit"),
        ("LangGraph > say", "GeneratorExit"),
    ]


def test_a_handler_that_raises_on_purpose_fails_the_run(engine):
    class Refuses(BaseCallbackHandler):
        raise_error = True

        def on_chat_model_start(self, *args, **kwargs):
            raise PermissionError("no models")

    with pytest.raises(PermissionError, match="no models"):
        one_node(engine).invoke({"text": ""}, {"callbacks": [Refuses()]})
