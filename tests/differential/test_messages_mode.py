"""Mode ``messages``: tokens of the chat models that nodes call, with metadata."""

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from typing_extensions import TypedDict

from tests.support.differential import run
from tests.support.models import EchoModel, FailingModel, WholeModel, tokens

HI = {"messages": [HumanMessage("say hi", id="in")]}
TOPIC = {"topic": "cats"}


class State(TypedDict, total=False):
    topic: str
    joke: str
    poem: str


def chat(ns, model, is_async=False, **node_options):
    """One node that calls the model and returns its message."""

    def call(state):
        return {"messages": model.invoke(state["messages"])}

    async def acall(state):
        return {"messages": await model.ainvoke(state["messages"])}

    builder = ns.StateGraph(ns.MessagesState)
    builder.add_node("call", acall if is_async else call, **node_options)
    return builder.add_edge(ns.START, "call")


def text_of(chunks):
    return [message.content for message, _ in chunks if message.content]


MODELS = {
    "plain": lambda: EchoModel(),
    "tagged": lambda: EchoModel(tags=["joke"]),
    "with metadata": lambda: EchoModel(metadata={"purpose": "test"}),
    "nostream": lambda: EchoModel(tags=["nostream"]),
    "disable_streaming": lambda: WholeModel(),
    "bound config": lambda: EchoModel().with_config(tags=["bound"], run_name="named"),
    "chain": lambda: EchoModel() | EchoModel(prefix="again "),
}


@pytest.mark.parametrize(
    "mode", ["messages", ["messages", "updates"], ["values", "messages"]], ids=str
)
@pytest.mark.parametrize("what", MODELS)
def test_a_model_called_in_a_node(differ, what, mode):
    differ.stream(lambda ns: chat(ns, MODELS[what]()), HI, stream_mode=mode)


@pytest.mark.parametrize("what", MODELS)
def test_a_model_awaited_in_an_async_node(differ, what):
    differ.stream(
        lambda ns: chat(ns, MODELS[what](), is_async=True),
        HI,
        stream_mode=["messages", "updates"],
        reference_face="async",
    )


def test_tokens_exactly(engine):
    graph = engine.compile(chat(engine, EchoModel()))
    chunks = list(graph.stream(HI, stream_mode="messages"))
    assert text_of(chunks) == ["echo", " ", "say", " ", "hi"]
    assert len({message.id for message, _ in chunks}) == 1
    assert chunks[0][0].id.startswith("lc_run--")
    assert chunks[-1][0].chunk_position == "last"


def test_metadata_exactly(engine):
    graph = engine.compile(chat(engine, EchoModel()))
    config = {"metadata": {"user": "ada"}, "tags": ["mine"]}
    (_, metadata), *_ = graph.stream(HI, config, stream_mode="messages")
    namespace = metadata["langgraph_checkpoint_ns"]
    assert namespace.startswith("call:")
    expected = {
        "langgraph_step": 1,
        "langgraph_node": "call",
        "langgraph_triggers": ("branch:to:call",),
        "langgraph_path": ("__pregel_pull", "call"),
        "langgraph_checkpoint_ns": namespace,
        "checkpoint_ns": namespace,
        "ls_provider": "echomodel",
        "ls_model_type": "chat",
        "user": "ada",
        "tags": ["mine"],
    }
    assert {key: metadata.get(key) for key in expected} == expected


def test_nostream_shows_the_returned_message_whole(engine):
    graph = engine.compile(chat(engine, EchoModel(tags=["nostream"])))
    ((message, _),) = graph.stream(HI, stream_mode="messages")
    assert type(message) is AIMessage
    assert message.content == "echo say hi"


def two_models(ns, is_async=False):
    joke_model = EchoModel(prefix="joke about ", tags=["joke"])
    poem_model = EchoModel(prefix="poem about ", tags=["poem"])

    async def acall(state, config):
        joke = await joke_model.ainvoke(state["topic"], config)
        poem = await poem_model.ainvoke(state["topic"], config)
        return {"joke": joke.content, "poem": poem.content}

    def call(state, config):
        joke = joke_model.invoke(state["topic"], config)
        return {"joke": joke.content, "poem": poem_model.invoke(state["topic"]).content}

    return (
        ns.StateGraph(State)
        .add_node("call", acall if is_async else call)
        .add_edge(ns.START, "call")
    )


def test_two_models_in_one_node(differ):
    differ.stream(two_models, TOPIC, stream_mode=["messages", "updates"])


def test_two_awaited_models_in_one_node(differ):
    differ.stream(
        lambda ns: two_models(ns, is_async=True),
        TOPIC,
        stream_mode=["messages", "updates"],
        reference_face="async",
    )


def test_tags_filter_one_of_two_models(engine):
    graph = engine.compile(two_models(engine))
    chunks = graph.stream(TOPIC, stream_mode="messages")
    jokes = [m.content for m, meta in chunks if m.content and "joke" in meta.get("tags", [])]
    assert jokes == tokens("joke about cats")


def test_two_nodes_with_models_in_parallel(differ):
    def build(ns):
        model = EchoModel()

        def write_joke(state):
            return {"joke": model.invoke("joke " + state["topic"]).content}

        def write_poem(state):
            return {"poem": model.invoke("poem " + state["topic"]).content}

        builder = ns.StateGraph(State).add_node("write_joke", write_joke)
        builder.add_node("write_poem", write_poem)
        return builder.add_edge(ns.START, "write_joke").add_edge(ns.START, "write_poem")

    differ.stream(build, TOPIC, stream_mode=["messages", "updates", "values"], parallel=True)


def test_a_model_that_is_itself_the_node(differ):
    def build(ns):
        from langchain_core.runnables import RunnableLambda

        chain = RunnableLambda(_messages) | EchoModel() | RunnableLambda(_as_update)
        return ns.StateGraph(ns.MessagesState).add_node("call", chain).add_edge(ns.START, "call")

    differ.stream(build, HI, stream_mode=["messages", "updates"])


def _messages(state):
    return state["messages"]


def _as_update(message):
    return {"messages": [message]}


def test_a_generic_fake_model(differ):
    def build(ns):
        def call(state):
            model = GenericFakeChatModel(messages=iter([AIMessage("hello my world")]))
            return {"messages": model.invoke(state["messages"])}

        return ns.StateGraph(ns.MessagesState).add_node("call", call).add_edge(ns.START, "call")

    outcome = differ.stream(build, HI, stream_mode="messages")
    assert text_of(outcome.chunks) == ["hello", " ", "my", " ", "world"]


def test_a_model_that_is_streamed_by_its_node(differ):
    def build(ns):
        model = EchoModel()

        def call(state, writer):
            parts = []
            for chunk in model.stream(state["messages"]):
                writer({"node": chunk.content})
                parts.append(chunk)
            whole = parts[0]
            for part in parts[1:]:
                whole = whole + part
            return {"messages": whole}

        return ns.StateGraph(ns.MessagesState).add_node("call", call).add_edge(ns.START, "call")

    differ.stream(build, HI, stream_mode=["messages", "custom", "updates"])


RETURNED = {
    "with id": lambda: AIMessage("whole", id="m1"),
    "without id": lambda: AIMessage("whole"),
    "list": lambda: [AIMessage("a", id="m1"), AIMessage("b", id="m2")],
    "seen in the input": lambda: HumanMessage("say hi", id="in"),
    "one id twice": lambda: [AIMessage("a", id="m1"), AIMessage("b", id="m1")],
    "tool message": lambda: ToolMessage("result", tool_call_id="c1", id="t1"),
    "dict": lambda: {"role": "assistant", "content": "dict", "id": "m1"},
}


@pytest.mark.parametrize("what", RETURNED)
def test_messages_in_a_nodes_return_are_emitted_whole(differ, what):
    def build(ns):
        value = RETURNED[what]()
        builder = ns.StateGraph(ns.MessagesState).add_node("say", lambda s: {"messages": value})
        return builder.add_edge(ns.START, "say")

    differ.stream(build, HI, stream_mode=["messages", "updates"])


def test_a_message_that_two_nodes_return_is_emitted_once(differ):
    def build(ns):
        builder = ns.StateGraph(ns.MessagesState)
        builder.add_node("one", lambda s: {"messages": AIMessage("same", id="m1")})
        builder.add_node("two", lambda s: {"messages": AIMessage("same", id="m1")})
        return builder.add_edge(ns.START, "one").add_edge("one", "two")

    outcome = differ.stream(build, HI, stream_mode="messages")
    assert len(outcome.chunks) == 1


def test_messages_in_a_command(differ):
    def build(ns):
        command = ns.Command(update={"messages": [AIMessage("by command", id="m1")]})
        builder = ns.StateGraph(ns.MessagesState).add_node("say", lambda s: command)
        return builder.add_edge(ns.START, "say")

    differ.stream(build, HI, stream_mode=["messages", "updates"])


def test_node_metadata_and_tags_reach_the_tokens(differ):
    differ.stream(
        lambda ns: chat(ns, EchoModel(), metadata={"kind": "writer"}),
        HI,
        stream_mode="messages",
        config={"metadata": {"user": "ada"}, "tags": ["t1"], "run_name": "my run"},
    )


def test_a_model_that_breaks_halfway(differ):
    outcome = differ.stream(
        lambda ns: chat(ns, FailingModel()), HI, stream_mode=["messages", "updates", "values"]
    )
    assert type(outcome.error) is ConnectionError
    assert text_of([c[1] for c in outcome.chunks if c[0] == "messages"]) == ["echo", " "]


def test_without_mode_messages_no_tokens_flow(engine):
    graph = engine.compile(chat(engine, EchoModel()))
    outcome = run(graph, HI, stream_mode=["updates", "custom"])
    assert [mode for mode, _ in outcome.chunks] == ["updates"]
