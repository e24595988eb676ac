"""What nodes are made of travels to the workers: lambdas, closures, the user's own modules."""

import functools
import importlib
import re
import socket
import sqlite3
import sys
import textwrap
import threading
from typing import Annotated

import pytest
from google.protobuf import struct_pb2, timestamp_pb2
from typing_extensions import TypedDict

from distgraph.errors import SerializationError
from tests.support.differential import run
from tests.support.graphs import Items
from tests.support.models import EchoModel

pytestmark = pytest.mark.ray


def single(on_ray, node, name="n"):
    builder = on_ray.StateGraph(Items).add_node(name, node).add_edge(on_ray.START, name)
    return on_ray.compile(builder)


def test_a_lambda(on_ray):
    assert single(on_ray, lambda s: {"items": ["lambda"]}).invoke({"items": []}) == {
        "items": ["lambda"]
    }


def test_a_closure_over_data_and_functions(on_ray):
    table = {"a": 1}

    def helper(key):
        return table[key] + offset

    offset = 41
    assert single(on_ray, lambda s: {"items": [helper("a")]}).invoke({"items": []}) == {
        "items": [42]
    }


def test_a_partial(on_ray):
    def add(word, state):
        return {"items": [word]}

    assert single(on_ray, functools.partial(add, "p")).invoke({"items": []}) == {"items": ["p"]}


def test_a_chat_model_in_a_closure(on_ray):
    model = EchoModel()

    def node(state):
        return {"items": [model.invoke("hi").content]}

    assert single(on_ray, node).invoke({"items": []}) == {"items": ["echo hi"]}


def test_objects_of_installed_modules_that_cannot_be_pickled(on_ray):
    kind, file = struct_pb2.NullValue, timestamp_pb2.DESCRIPTOR

    def node(state):
        return {"items": [kind.Name(0), file.name]}

    assert single(on_ray, node).invoke({"items": []}) == {
        "items": ["NULL_VALUE", "google/protobuf/timestamp.proto"]
    }


@pytest.fixture
def module_of_the_users(tmp_path, monkeypatch, on_ray):
    """A module in a folder that came to ``sys.path`` after Ray had started."""
    source = """
        from distgraph.config import get_stream_writer
        from their_helpers import shout

        GREETING = "hello"

        class TheirError(Exception):
            def __init__(self, *, code):
                super().__init__(f"code {code}")
                self.code = code

        class Adder:
            def __init__(self, word):
                self.word = word

            def __call__(self, state):
                get_stream_writer()(shout(self.word))
                return {"items": [self.word]}

        def node(state):
            get_stream_writer()(shout(GREETING))
            return {"items": [GREETING]}

        def bad(state):
            raise TheirError(code=7)

        def longest(a, b):
            return max(a, b, key=len)
    """
    (tmp_path / "their_helpers.py").write_text("def shout(text):\n    return text.upper()\n")
    (tmp_path / "their_nodes.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("their_nodes")
    yield module
    for name in ("their_nodes", "their_helpers"):
        sys.modules.pop(name, None)


def test_a_function_of_the_users_module(on_ray, module_of_the_users):
    outcome = run(
        single(on_ray, module_of_the_users.node), {"items": []}, stream_mode=["custom", "updates"]
    )
    assert outcome.error is None
    assert outcome.chunks == [("custom", "HELLO"), ("updates", {"n": {"items": ["hello"]}})]


def test_an_object_of_the_users_module(on_ray, module_of_the_users):
    graph = single(on_ray, module_of_the_users.Adder("word"))
    assert list(graph.stream({"items": []}, stream_mode="custom")) == ["WORD"]


def test_an_exception_of_the_users_module_is_caught_by_its_class(on_ray, module_of_the_users):
    with pytest.raises(module_of_the_users.TheirError) as caught:
        single(on_ray, module_of_the_users.bad).invoke({"items": []})
    assert caught.value.code == 7


def test_a_reducer_of_the_users_module(on_ray, module_of_the_users):
    class State(TypedDict):
        text: Annotated[str, module_of_the_users.longest]

    builder = on_ray.StateGraph(State).add_node("a", lambda s: {"text": "longer"})
    builder.add_node("b", lambda s: {"text": "b"}).add_edge(on_ray.START, "a").add_edge("a", "b")
    assert on_ray.compile(builder).invoke({"text": "x"}) == {"text": "longer"}


def test_a_module_that_was_reloaded_is_reloaded_by_driver_worker_and_executor(
    on_ray, tmp_path, monkeypatch
):
    name = f"their_{tmp_path.name}"  # workers keep the modules of other tests
    file = tmp_path / f"{name}.py"
    source = """
        VALUE = {value}

        def node(state):
            return {{"text": f"node {{VALUE}}"}}

        async def waiting(state):
            return {{"text": f"waiting {{VALUE}}"}}

        def reduced(a, b):
            return f"{{a}}, {{b}} reduced by {{VALUE}}" if b else a
    """
    monkeypatch.syspath_prepend(str(tmp_path))

    def final(value):
        file.write_text(textwrap.dedent(source.format(value=value)))
        known = sys.modules.get(name)
        module = importlib.reload(known) if known else importlib.import_module(name)

        class State(TypedDict):
            text: Annotated[str, module.reduced]

        nodes = [("a", module.node), ("b", module.waiting)]
        builder = on_ray.StateGraph(State).add_sequence(nodes).add_edge(on_ray.START, "a")
        return on_ray.compile(builder).invoke({"text": ""})["text"]

    for value in (1, 22, 333):  # files of different sizes
        assert final(value) == (
            f", node {value} reduced by {value}, waiting {value} reduced by {value}"
        )
    del sys.modules[name]


CANNOT_TRAVEL = {
    "thread": threading.Thread,
    "generator": lambda: (i for i in range(3)),
    "socket": socket.socket,
    "connection": lambda: sqlite3.connect(":memory:"),
}


@pytest.mark.parametrize("what", CANNOT_TRAVEL)
def test_what_cannot_travel_is_refused_at_compile_by_name(on_ray, what):
    guarded = CANNOT_TRAVEL[what]()

    def careful(state):
        return {"items": [str(guarded)]}

    builder = on_ray.StateGraph(Items).add_node("careful_one", careful)
    builder.add_edge(on_ray.START, "careful_one")
    with pytest.raises(TypeError, match=r"(?s)careful_one.*guarded"):
        on_ray.compile(builder)


@pytest.mark.parametrize("what", CANNOT_TRAVEL)
def test_what_cannot_travel_is_refused_by_a_run_at_the_latest(on_ray, what):
    guarded = CANNOT_TRAVEL[what]()

    def careful(state):
        return {"items": [str(guarded)]}

    with pytest.raises(TypeError, match=r"(?s)careful_one.*guarded"):
        single(on_ray, careful, "careful_one").invoke({"items": []})


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"config": {"configurable": {"inbox": socket}}}, r'config["configurable"]["inbox"]'),
        ({"config": {"metadata": {"m": [socket]}}}, r'config["metadata"]["m"][0]'),
        ({"context": {"db": socket}}, r'context["db"]'),
        ({"input": {"items": [{"x": socket}]}}, r'input["items"][0]["x"]'),
    ],
    ids=["configurable", "metadata", "context", "input"],
)
def test_what_a_run_is_given_and_cannot_travel_is_named_as_the_caller_wrote_it(
    on_ray, options, place
):
    graph = single(on_ray, lambda state: {})

    def filled(value):
        if value is socket:
            return socket.socket()
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else value

    given = filled({"input": {"items": []}, **options})
    with pytest.raises(SerializationError, match=re.escape(f"{place} (socket.socket) cannot")):
        graph.invoke(**given)


def test_a_list_that_a_node_captures_is_sent_as_it_is_when_a_run_begins(on_ray):
    words = ["then"]
    graph = single(on_ray, lambda s: {"items": list(words)})
    first = graph.invoke({"items": []})
    words[0] = "now"
    assert first == {"items": ["then"]}
    assert graph.invoke({"items": []}) == {"items": ["now"]}
