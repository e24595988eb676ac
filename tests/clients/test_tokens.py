"""What a model streams over HTTP is what the caller sees: text, tool calls in pieces, usage."""

import asyncio
import operator
from functools import reduce

import openai
import pytest
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletionChunk

from tests.clients.support import HI, chat, single, talks, texts
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

CALLS = (Call("weather", {"city": "Oslo"}), Call("clock", {"zone": "CET", "short": True}))
ANSWERS = {
    "text": Answer("one two three"),
    "nothing": Answer(""),
    "a tool call": Answer(calls=CALLS[:1]),
    "text and tool calls": Answer("I will look.", calls=CALLS),
    "tool calls one by one": Answer(calls=CALLS),
    "tool calls that take turns": Answer(calls=CALLS, order="taking turns"),
    "tool calls together": Answer(calls=CALLS, order="together"),
}


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


def clock(zone: str, short: bool = False) -> str:
    """Tell the time."""
    return f"noon in {zone}"


@pytest.mark.parametrize("what", ANSWERS)
def test_the_same_chunks_as_langgraph(differ, serve, what):
    server = serve(ANSWERS[what])

    def build(ns):
        server.rewind()
        return talks(ns, chat(server).bind_tools([weather, clock]))

    differ.stream(build, HI, stream_mode=["messages", "updates", "values"])


@pytest.mark.parametrize("what", ANSWERS)
def test_the_same_chunks_as_langgraph_awaited(differ, serve, what):
    server = serve(ANSWERS[what])

    def build(ns):
        server.rewind()
        return talks(ns, chat(server).bind_tools([weather, clock]), is_async=True)

    modes = ["messages", "updates"]
    differ.stream(build, HI, stream_mode=modes, faces=("async",), reference_face="async")


PIECES = [
    (0, "weather", "call_0", ""),
    (0, None, None, '{"city'),
    (0, None, None, '": "Os'),
    (0, None, None, 'lo"}'),
    (1, "clock", "call_1", ""),
    (1, None, None, '{"zone'),
    (1, None, None, '": "CE'),
    (1, None, None, 'T", "s'),
    (1, None, None, 'hort":'),
    (1, None, None, " true}"),
]
TURNS = [0, 4, 1, 5, 2, 6, 3, 7, 8, 9]
ORDERS = {
    "one by one": [[piece] for piece in PIECES],
    "taking turns": [[PIECES[i]] for i in TURNS],
    "together": [
        *([PIECES[i], PIECES[i + 4]] for i in range(4)),
        [PIECES[8]],
        [PIECES[9]],
    ],
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("order", ORDERS)
def test_parallel_tool_calls_in_chunks(engine, serve, order, is_async):
    server = serve(Answer(calls=CALLS, order=order))
    graph = engine.compile(talks(engine, chat(server), is_async))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode=["messages", "updates"])
    *tokens, (_, update) = outcome.chunks
    messages = [message for _, (message, _) in tokens]
    got = [
        [(c["index"], c["name"], c["id"], c["args"]) for c in message.tool_call_chunks]
        for message in messages
        if message.tool_call_chunks
    ]
    assert got == ORDERS[order]
    expected = [
        {"name": "weather", "args": {"city": "Oslo"}, "id": "call_0", "type": "tool_call"},
        {
            "name": "clock",
            "args": {"zone": "CET", "short": True},
            "id": "call_1",
            "type": "tool_call",
        },
    ]
    assert reduce(operator.add, messages).tool_calls == expected
    (answer,) = [update["call"]["messages"]]
    assert type(answer) is AIMessage
    assert answer.tool_calls == expected
    assert {message.id for message in messages} == {answer.id}


def test_usage_comes_once_with_the_last_event_of_the_server(engine, serve):
    server = serve("one two three")
    graph = engine.compile(talks(engine, chat(server)))
    outcome = run(graph, HI, stream_mode=["messages", "updates"])
    *tokens, (_, update) = outcome.chunks
    usages = [m.usage_metadata for _, (m, _) in tokens if m.usage_metadata]
    (usage,) = usages
    wanted = {"input_tokens": 1, "output_tokens": 3, "total_tokens": 4}
    assert {key: usage[key] for key in wanted} == wanted
    assert update["call"]["messages"].usage_metadata == usage
    assert server.requests[0]["stream_options"] == {"include_usage": True}


def test_usage_of_a_whole_answer(engine, serve):
    server = serve("one two three")
    result = engine.compile(talks(engine, chat(server))).invoke(HI)
    usage = result["messages"][-1].usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (1, 3)
    assert not server.requests[0].get("stream")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_token_arrives_before_the_model_says_the_next(engine, serve, is_async):
    server = serve(Answer("one two three", hold_after=2))
    graph = engine.compile(talks(engine, chat(server), is_async))
    seen = []

    def take(chunk):
        if chunk[0].text:
            seen.append(chunk[0].text)
        if seen == ["one ", "two "] and chunk[0].text:
            server.proceed()

    if is_async:

        async def drain():
            async for chunk in graph.astream(HI, stream_mode="messages"):
                take(chunk)

        asyncio.run(drain())
    else:
        for chunk in graph.stream(HI, stream_mode="messages"):
            take(chunk)
    assert seen == ["one ", "two ", "three"]


def test_parallel_nodes_stream_each_its_own_answer(engine, serve):
    server = serve(lambda body: f"{body['model']} says its piece", interval=0.002)
    names = ("left", "middle", "right")
    builder = engine.StateGraph(engine.MessagesState)
    for name in names:
        model = chat(server, model=name)

        def node(state, model=model):
            return {"messages": model.invoke(state["messages"])}

        builder.add_node(name, node).add_edge(engine.START, name)
    said = dict.fromkeys(names, "")
    for message, metadata in engine.compile(builder).stream(HI, stream_mode="messages"):
        assert metadata["ls_model_name"] == metadata["langgraph_node"]
        said[metadata["langgraph_node"]] += message.text
    assert said == {name: f"{name} says its piece" for name in names}


def test_the_tokens_of_a_client_without_langchain(engine, serve):
    """The writer carries what any client streams, tool calls in pieces included."""
    server = serve(Answer("Well.", calls=CALLS[:1]))
    client = openai.AsyncOpenAI(api_key="k", base_url=server.base_url)

    async def node(state, writer):
        request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        stream = await client.chat.completions.create(
            **request, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            writer(chunk)

    graph = engine.compile(single(engine, node))
    outcome = run(graph, HI, "async", stream_mode="custom")
    assert outcome.error is None
    assert {type(chunk) for chunk in outcome.chunks} == {ChatCompletionChunk}
    deltas = [chunk.choices[0].delta for chunk in outcome.chunks if chunk.choices]
    assert [delta.content for delta in deltas if delta.content] == ["Well."]
    assert [d.tool_calls[0].function.arguments for d in deltas if d.tool_calls] == [
        "",
        '{"city',
        '": "Os',
        'lo"}',
    ]
    assert outcome.chunks[-1].usage.completion_tokens == 5


def test_the_helpers_of_the_openai_client(engine, serve):
    """``chat.completions.stream`` collects events into a whole answer, in the node."""
    server = serve("one two")
    client = openai.OpenAI(api_key="k", base_url=server.base_url)

    def node(state, writer):
        messages = [{"role": "user", "content": "hi"}]
        with client.chat.completions.stream(model="m", messages=messages) as stream:
            for event in stream:
                if event.type == "content.delta":
                    writer(event.delta)
            answer = stream.get_final_completion().choices[0].message.content
        return {"messages": AIMessage(answer)}

    graph = engine.compile(single(engine, node))
    outcome = run(graph, HI, stream_mode=["custom", "updates"])
    assert outcome.chunks[:-1] == [("custom", ""), ("custom", "one "), ("custom", "two")]
    assert outcome.chunks[-1][1]["call"]["messages"].content == "one two"


def test_what_was_said_before_is_not_said_again(engine, serve):
    """Two turns: the first answer is in the state when the model streams the second."""
    server = serve("first answer", "second answer")
    model = chat(server)

    def node(state):
        return {"messages": model.invoke(state["messages"])}

    builder = single(engine, node).add_node("again", node).add_edge("call", "again")
    chunks = list(engine.compile(builder).stream(HI, stream_mode="messages"))
    assert texts(chunks) == ["first ", "answer", "second ", "answer"]
    assert [m["content"] for m in server.requests[1]["messages"]] == ["hi", "first answer"]
