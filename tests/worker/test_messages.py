"""Token capture: what LangGraph's own handler shows of the same model calls, and no more."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langgraph")

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from distgraph._internal.chat_messages import message_ids, whole_messages
from distgraph.errors import MissingExtraError
from distgraph.worker import messages as capture
from distgraph.worker.messages import make_handler
from tests.support.elsewhere import ROOT, Elsewhere
from tests.support.models import EchoModel, FailingModel, WholeModel, tokens
from tests.support.openai_server import OpenAIServer

Token = tuple[tuple[str, ...], Any, dict[str, Any]]
TASK = {"langgraph_node": "n", "langgraph_step": 1, "langgraph_checkpoint_ns": "n:1"}


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


class Captured:
    """A handler and what it emitted."""

    def __init__(self, **options: Any) -> None:
        self.tokens: list[Token] = []
        settings: dict[str, Any] = {
            "ns": (),
            "metadata": TASK,
            "subgraphs": False,
            "input": None,
            "seen": set(),
            **options,
        }
        self.handler = make_handler(lambda *token: self.tokens.append(token), **settings)

    @property
    def texts(self) -> list[str]:
        return [message.text for _, message, _ in self.tokens]

    def config(self, **more: Any) -> RunnableConfig:
        return {"callbacks": [self.handler], "metadata": dict(TASK), **more}  # type: ignore[typeddict-item]


def one_node(node: Any) -> Any:
    builder = StateGraph(Chat)
    builder.add_node("n", node)
    builder.add_edge(START, "n")
    return builder.compile()


# --- the same as the reference -------------------------------------------------------------------


def sync_node(state: Chat) -> Any:
    EchoModel(prefix="a ").invoke("one two")
    return {"messages": EchoModel(prefix="b ").invoke("three")}


async def async_node(state: Chat) -> Any:
    await EchoModel(prefix="a ").ainvoke("one two")
    return {"messages": await EchoModel(prefix="b ").ainvoke("three")}


def chain_node(state: Chat) -> Any:
    inner = RunnableLambda(lambda text: EchoModel().invoke(text))
    return {"messages": (RunnableLambda(lambda text: f"<{text}>") | inner).invoke("x")}


def tagged_node(state: Chat) -> Any:
    model = EchoModel(tags=["mine"])
    model.with_config(tags=["bound"], metadata={"who": "me"}).invoke("x")
    return {"messages": (RunnableLambda(lambda text: text) | model).invoke("y")}


def quiet_node(state: Chat) -> Any:
    EchoModel().with_config(tags=["nostream"]).invoke("quiet")
    return {"messages": EchoModel().invoke("loud")}


def whole_node(state: Chat) -> Any:
    return {"messages": WholeModel().invoke("at once")}


def streaming_node(state: Chat) -> Any:
    text = "".join(chunk.text for chunk in EchoModel().stream("by hand"))
    return {"messages": AIMessage(text, id="by-hand")}


def thread_node(state: Chat) -> Any:
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(EchoModel().invoke, "thread"))
    thread.start()
    thread.join()


def batch_node(state: Chat) -> Any:
    EchoModel().batch(["a", "b"], config={"max_concurrency": 1})


NODES = [
    sync_node,
    async_node,
    chain_node,
    tagged_node,
    quiet_node,
    whole_node,
    streaming_node,
    thread_node,
    batch_node,
]


def by_reference(graph: Any, captured: Captured, **options: Any) -> list[Any]:
    """Stream a LangGraph graph that has our handler beside its own."""
    given = {"messages": [HumanMessage("q", id="q")]}
    config = {"callbacks": [captured.handler], "metadata": {"user": 1}}
    if not options.pop("on_loop", False):
        return list(graph.stream(given, config, stream_mode="messages", **options))

    async def run() -> list[Any]:
        stream = graph.astream(given, config, stream_mode="messages", **options)
        return [chunk async for chunk in stream]

    return asyncio.run(run())


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_tokens_and_metadata_are_those_of_the_reference(node: Any) -> None:
    on_loop = node is async_node
    if on_loop and sys.version_info < (3, 11):
        pytest.skip("before 3.11 the reference loses the config in async nodes")
    captured = Captured()
    reference = by_reference(one_node(node), captured, on_loop=on_loop)
    ours = [(message, metadata) for _, message, metadata in captured.tokens]
    # the message that the hand-made node returns is emitted at the node's end, not here
    assert ours == [chunk for chunk in reference if chunk[0].id != "by-hand"]
    assert all(ns == () for ns, _, _ in captured.tokens)


def test_metadata_has_the_keys_that_users_rely_on() -> None:
    captured = Captured()
    by_reference(one_node(sync_node), captured)
    metadata = captured.tokens[0][2]
    assert metadata["langgraph_node"] == "n"
    assert metadata["langgraph_step"] == 1
    assert metadata["langgraph_triggers"] == ("branch:to:n",)
    assert metadata["user"] == 1
    assert metadata["ls_model_type"] == "chat"
    assert "tags" not in metadata


def nested_graph() -> Any:
    def call(state: Chat) -> Any:
        EchoModel(prefix="outer ").invoke("x")

    child = one_node(sync_node)
    builder = StateGraph(Chat)
    builder.add_node("child", child)
    builder.add_node("call", call)
    builder.add_edge(START, "child")
    builder.add_edge("child", "call")
    return builder.compile()


def test_tokens_of_a_nested_graph_come_under_its_namespace() -> None:
    captured = Captured(subgraphs=True)
    reference = by_reference(nested_graph(), captured, subgraphs=True)
    assert [(ns, (message, meta)) for ns, message, meta in captured.tokens] == reference
    assert {len(ns) for ns, _, _ in captured.tokens} == {0, 1}
    assert {ns[0].partition(":")[0] for ns, _, _ in captured.tokens if ns} == {"child"}


def test_tokens_of_a_nested_graph_are_dropped_without_subgraphs() -> None:
    captured = Captured()
    by_reference(nested_graph(), captured)
    assert "".join(captured.texts) == "outer x"
    assert captured.handler.seen == {message.id for _, message, _ in captured.tokens}


def test_a_handler_of_a_subgraph_s_node_captures_at_its_own_namespace() -> None:
    captured = Captured(ns=("child:7",))
    metadata = {**TASK, "langgraph_checkpoint_ns": "child:7|n:1"}
    EchoModel().invoke("x", {"callbacks": [captured.handler], "metadata": metadata})
    assert {ns for ns, _, _ in captured.tokens} == {("child:7",)}
    assert "".join(captured.texts) == "echo x"


def test_a_functional_task_s_segments_are_not_part_of_the_namespace() -> None:
    captured = Captured()
    path = ("__pregel_push", ("__pregel_push", ("__pregel_pull", "n"), 0, True), 0, True)
    metadata = {"langgraph_checkpoint_ns": "n:1|f:2|g:3", "langgraph_path": path}
    EchoModel().invoke("x", {"callbacks": [captured.handler], "metadata": metadata})
    assert "".join(captured.texts) == "echo x"


# --- the handler by itself -----------------------------------------------------------------------


def test_each_token_is_one_emission_in_order() -> None:
    captured = Captured()
    message = EchoModel().invoke("hello wide world", captured.config())
    assert captured.texts == [*tokens("echo hello wide world"), ""]
    assert {chunk.id for _, chunk, _ in captured.tokens} == {message.id}
    assert captured.tokens[-1][1].chunk_position == "last"
    assert captured.handler.seen == {message.id}


def test_two_models_in_turn_and_at_once_keep_their_own_ids() -> None:
    captured = Captured()

    async def both() -> list[Any]:
        calls = (EchoModel(prefix=p).ainvoke("x y", captured.config()) for p in ("a ", "b "))
        return await asyncio.gather(*calls)

    replies = asyncio.run(both())
    for reply in replies:
        own = [chunk.text for _, chunk, _ in captured.tokens if chunk.id == reply.id]
        assert "".join(own) == reply.text


def test_a_model_that_does_not_stream_is_emitted_whole() -> None:
    captured = Captured()
    reply = WholeModel().invoke("x", captured.config())
    assert [(type(message), message.text) for _, message, _ in captured.tokens] == [
        (AIMessage, "echo x")
    ]
    assert captured.tokens[0][1].id == reply.id


def test_user_tags_are_shown_and_internal_ones_are_not() -> None:
    captured = Captured()
    tags = ["mine", "seq:step:1", "graph:step:2", "langsmith:hidden"]
    EchoModel().invoke("x", captured.config(tags=tags))
    assert {tuple(metadata["tags"]) for _, _, metadata in captured.tokens} == {("mine",)}


def test_nostream_emits_nothing_and_marks_nothing_seen() -> None:
    captured = Captured()
    EchoModel().invoke("x", captured.config(tags=["nostream"]))
    assert (captured.tokens, captured.handler.seen) == ([], set())


def test_a_model_that_breaks_leaves_what_it_streamed() -> None:
    captured = Captured()
    with pytest.raises(ConnectionError, match="the model hung up"):
        FailingModel().invoke("x", captured.config())
    assert captured.texts == ["echo", " "]
    assert captured.handler._runs == {}


def test_a_run_that_lost_its_metadata_gets_the_task_s() -> None:
    captured = Captured()
    EchoModel().invoke("x", {"callbacks": [captured.handler]})
    assert captured.tokens[0][2]["langgraph_node"] == "n"


def test_messages_of_the_input_count_as_seen() -> None:
    captured = Captured(input={"messages": [HumanMessage("q", id="q")]}, seen={"before"})
    assert captured.handler.seen == {"q", "before"}


def test_a_missing_langchain_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("langchain_core"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    capture._handler_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'distgraph\[langchain\]'"):
        Captured()


# --- messages in state ---------------------------------------------------------------------------


def test_returned_messages_are_whole_once_and_get_ids() -> None:
    seen = {"old"}
    fresh = AIMessage("no id")
    values = [
        AIMessage("a", id="a"),
        [HumanMessage("old", id="old"), fresh, {"role": "user", "content": "dict"}],
        (AIMessage("a again", id="a"), AIMessage("b", id="b")),
        "text",
        b"bytes",
        None,
        {"messages": [AIMessage("in a dict", id="d")]},
    ]
    result = whole_messages(values, seen)
    assert [message.text for message in result] == ["a", "no id", "b"]
    assert fresh.id is not None and len(fresh.id) == 36
    assert seen == {"old", "a", "b", fresh.id}
    assert whole_messages(values, seen) == []


def test_streamed_messages_are_not_emitted_again_at_the_node_s_end() -> None:
    captured = Captured()
    reply = EchoModel().invoke("x", captured.config())
    assert whole_messages([[reply]], captured.handler.seen) == []


class PydanticState(BaseModel):
    messages: list[Any] = []
    last: Any = None


@dataclasses.dataclass
class DataclassState:
    messages: list[Any]


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        ({"messages": [HumanMessage("x", id="x")], "last": AIMessage("y", id="y")}, {"x", "y"}),
        (PydanticState(messages=[HumanMessage("x", id="x")], last=AIMessage("y")), {"x"}),
        (DataclassState(messages=[HumanMessage("x", id="x")]), {"x"}),
        ([HumanMessage("x", id="x"), "y"], {"x"}),
        (AIMessageChunk("x", id="x"), {"x"}),
        ({"messages": [{"role": "user", "content": "x", "id": "x"}]}, set()),
        ("text", set()),
        (None, set()),
    ],
)
def test_ids_of_messages_in_a_state(state: Any, ids: set[str]) -> None:
    assert message_ids(state) == ids


def test_without_langchain_nothing_is_imported() -> None:
    code = (
        "import sys\n"
        "from distgraph.worker.messages import message_ids, whole_messages\n"
        "print(whole_messages([['x'], 1], set()), message_ids({'m': [1]}))\n"
        "print([m for m in ('langchain_core', 'pydantic') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "[] set()\n[]\n", done.stderr


# --- a real client in another process ------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(["The quick brown fox."]) as server:
        yield server


def test_a_shipped_chat_model_streams_through_the_handler(
    server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.ChatOpenAI(model="test", api_key="k", base_url=server.base_url)

    def node() -> list[tuple[str, str]]:
        emitted: list[tuple[str, str]] = []
        handler = make_handler(
            lambda ns, message, metadata: emitted.append((message.text, metadata["ls_provider"])),
            ns=(),
            metadata={},
            subgraphs=False,
            input=None,
            seen=set(),
        )
        metadata = {"langgraph_checkpoint_ns": "n:1"}
        model.invoke("hi", {"callbacks": [handler], "metadata": metadata})
        return emitted

    emitted = elsewhere(node)
    assert [text for text, _ in emitted if text] == ["The ", "quick ", "brown ", "fox."]
    assert {provider for _, provider in emitted} == {"openai"}
    assert server.requests[0]["stream"] is True
