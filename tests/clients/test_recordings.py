"""A body replayed byte for byte, in packets of any size: what the client reads is streamed.

The bodies have what hosted services send and a scripted server does not: comments, fields that
nobody asked for, characters of several bytes, text that looks like the protocol's own.
"""

import operator
from functools import reduce
from pathlib import Path

import openai
import pytest

from tests.clients.support import HI, chat, single, talks, texts
from tests.support.differential import run
from tests.support.openai_server import Answer

RECORDINGS = Path(__file__).parent / "recordings"
TEXT = (RECORDINGS / "text.sse").read_bytes()
TOOL_CALLS = (RECORDINGS / "tool_calls.sse").read_bytes()
UNFINISHED = TEXT[: TEXT.index(b"data", TEXT.index(b"Gott"))]
PACKETS = {
    "whole": (None, b"\n"),
    "7 bytes": (7, b"\n"),
    "61 bytes, other line ends": (61, b"\r\n"),
}
TOKENS = ["Grü", "ß", " Gott", " 👋🏽", ",", "\n\n", "data", ": [DONE]", " is", " text", ' "here"']
TOKENS += ["."]


def replay(recording, how):
    packet, line_end = PACKETS[how]
    return Answer(recording=recording.replace(b"\n", line_end), packet=packet)


@pytest.mark.parametrize("how", PACKETS)
def test_text(engine, serve, how):
    graph = engine.compile(talks(engine, chat(serve(replay(TEXT, how)))))
    outcome = run(graph, HI, stream_mode=["messages", "updates"])
    assert outcome.error is None
    *tokens, (_, update) = outcome.chunks
    assert texts([chunk for _, chunk in tokens]) == TOKENS
    answer = update["call"]["messages"]
    assert answer.text == "".join(TOKENS)
    usage = answer.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (19, 12)
    assert usage["input_token_details"]["cache_read"] == 8
    assert answer.response_metadata["system_fingerprint"] == "fp_62a23a81ef"
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("how", PACKETS)
def test_tool_calls(engine, serve, how):
    graph = engine.compile(talks(engine, chat(serve(replay(TOOL_CALLS, how))), is_async=True))
    outcome = run(graph, HI, "async", stream_mode="messages")
    assert outcome.error is None
    messages = [message for message, _ in outcome.chunks]
    pieces = [(c["index"], c["args"]) for m in messages for c in m.tool_call_chunks]
    assert pieces == [
        *((0, piece) for piece in ("", '{"qu', 'ery": "', "œuvre", '"}')),
        *((1, piece) for piece in ("", '{"qu', 'ery": "', "日本", '語", "', 'top": 3', "}")),
    ]
    assert [(c["id"], c["args"]) for c in reduce(operator.add, messages).tool_calls] == [
        ("call_3vJk0sQ1mWbTfL8", {"query": "œuvre"}),
        ("call_Yc5RzP2nXh7gUd", {"query": "日本語", "top": 3}),
    ]


@pytest.mark.parametrize("how", PACKETS)
def test_the_openai_client(engine, serve, how):
    client = openai.AsyncOpenAI(api_key="k", base_url=serve(replay(TEXT, how)).base_url)

    async def node(state, writer):
        request = {"model": "m", "messages": [], "stream": True}
        async for chunk in await client.chat.completions.create(**request):
            writer(chunk.choices[0].delta.content if chunk.choices else chunk.usage)

    outcome = run(engine.compile(single(engine, node)), HI, "async", stream_mode="custom")
    assert outcome.error is None
    *tokens, usage = outcome.chunks
    assert tokens == ["", *TOKENS, None]
    assert usage.prompt_tokens_details.cached_tokens == 8


@pytest.mark.parametrize("recording", [TEXT, TOOL_CALLS, UNFINISHED], ids=["text", "calls", "part"])
def test_the_same_chunks_as_langgraph(differ, serve, recording):
    server = serve(Answer(recording=recording, packet=50))
    outcome = differ.stream(
        lambda ns: talks(ns, chat(server)), HI, stream_mode=["messages", "updates"]
    )
    if recording is UNFINISHED:  # the server ended the body as if it were whole
        assert outcome.chunks[-1][1]["call"]["messages"].text == "Grüß Gott"
