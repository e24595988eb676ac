"""The blocks of the streaming guides that need an agent, with the output that they print.

Their models answer from a loopback server: first with a call of the tool that they are given, then,
with its answer, by a text.
"""

import json
import os

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_openai.chat_models import _client_utils

from tests.seeds import agent_blocks as blocks
from tests.seeds.programs import run_cells
from tests.support.openai_replies import PIECE, Answer, Call, words
from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CITY = {"city": "San Francisco"}
PLACE = {"place": "bedroom"}
SUNNY = "It's always sunny in San Francisco!"
FINAL = "In San Francisco it is always sunny."
ITEMS = "A bed, soft. A lamp, bright. A book, open."
LOOKING, ACQUIRED = (f"{what} data for city: San Francisco" for what in ("Looking up", "Acquired"))

# collects what a block prints, as it is
COLLECT = """
shown = []


def print(*values, **options):
    shown.append(values if len(values) > 1 else values[0])
"""


def says(body):
    if "tools" not in body:
        return ITEMS
    if body["messages"][-1]["role"] == "tool":
        return FINAL
    name = body["tools"][0]["function"]["name"]
    return Answer(calls=(Call(name, CITY if name == "get_weather" else PLACE),))


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """The server that every model of a block answers from."""
    # langchain-openai shares connections between models, whatever event loop they were made on
    _client_utils._cached_async_httpx_client.cache_clear()
    _client_utils._cached_sync_httpx_client.cache_clear()
    with OpenAIServer([says]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server


def collected(engine, *cells):
    _, names = run_cells(engine.package, COLLECT, *cells)
    return names["shown"]


def plain(message):
    """A message without its ids and what the provider says of itself."""
    assert isinstance(message, (AIMessage, ToolMessage))
    if isinstance(message, ToolMessage):
        return ("tool", message.name, message.content, message.tool_call_id)
    return ("ai", message.content, [(c["name"], c["args"], c["id"]) for c in message.tool_calls])


ASKED = ("ai", "", [("get_weather", CITY, "call_0")])
ANSWERED = ("tool", "get_weather", SUNNY, "call_0")
SAID = ("ai", FINAL, [])

UPDATES = {
    "sync": [blocks.GET_WEATHER, blocks.AGENT_UPDATES],
    "async": [blocks.GET_WEATHER, blocks.AGENT_UPDATES_ASYNC],
    "any agent, sync": [blocks.GET_WEATHER, blocks.ANY_AGENT, blocks.ANY_AGENT_UPDATES],
    "any agent, async": [blocks.GET_WEATHER, blocks.ANY_AGENT, blocks.ANY_AGENT_UPDATES_ASYNC],
}


@pytest.mark.parametrize("face", UPDATES)
def test_agent_progress_is_three_updates(engine, face):
    chunks = collected(engine, *UPDATES[face])
    assert [
        {node: [plain(m) for m in update["messages"]] for node, update in chunk.items()}
        for chunk in chunks
    ] == [{"agent": [ASKED]}, {"tools": [ANSWERED]}, {"agent": [SAID]}]


def pieces(args):
    """The chunks in which the server streams a call's arguments, after the tool's name."""
    text = json.dumps(args)
    return [(None, text[i : i + PIECE]) for i in range(0, len(text), PIECE)]


@pytest.mark.parametrize("block", ["AGENT_TOKENS", "AGENT_TOKENS_ASYNC"])
def test_llm_tokens(engine, block):
    shown = collected(engine, blocks.GET_WEATHER, getattr(blocks, block))
    assert [kind for kind, _ in shown] == ["Token", "Metadata"] * (len(shown) // 2)
    tokens = [value for kind, value in shown if kind == "Token"]
    metadata = [value for kind, value in shown if kind == "Metadata"]
    nodes = [m["langgraph_node"] for m in metadata]
    at = nodes.index("tools")
    assert (nodes.count("tools"), set(nodes)) == (1, {"agent", "tools"})
    assert [m["langgraph_step"] for m in metadata] == [1] * at + [2] + [3] * (len(nodes) - at - 1)
    assert plain(tokens[at]) == ANSWERED
    asked, said = tokens[:at], tokens[at + 1 :]
    assert all(isinstance(token, AIMessageChunk) for token in (*asked, *said))
    calls = [(c["name"], c["args"]) for token in asked for c in token.tool_call_chunks]
    assert calls == [("get_weather", ""), *pieces(CITY)]
    assert [token.content for token in asked if token.content] == []
    assert [token.content for token in said if token.content] == words(FINAL)
    assert [len({token.id for token in part}) for part in (asked, said)] == [1, 1]
    assert {m["ls_model_name"] for i, m in enumerate(metadata) if i != at} == {"gpt-4o-mini"}


@pytest.mark.parametrize("block", ["AGENT_CUSTOM", "AGENT_CUSTOM_ASYNC"])
def test_updates_from_tools(engine, block):
    out, _ = run_cells(engine.package, blocks.GET_WEATHER, getattr(blocks, block))
    assert out == f"{LOOKING}\n"


def test_a_tool_without_a_docstring_is_refused(engine):
    # as the guide has it, word for word
    cell = blocks.AGENT_CUSTOM_ASYNC.replace('    """Get weather for a given city."""\n', "")
    with pytest.raises(ValueError, match="docstring"):
        run_cells(engine.package, blocks.GET_WEATHER, cell)


def test_custom_data_from_within_a_tool(engine):
    out, _ = run_cells(engine.package, blocks.ITEMS_AGENT, blocks.ITEMS_CUSTOM)
    items = ["books", "penciles", "pictures"]
    assert out == "".join(f"{ {'custom_tool_data': item} }\n" for item in items)


def test_llm_tokens_from_within_a_tool(engine):
    cells = blocks.ITEMS_AGENT, blocks.ITEMS_LLM_AGENT, blocks.ITEMS_LLM_TOKENS
    out, _ = run_cells(engine.package, *cells)
    assert out == "".join(f"{word}|" for word in words(ITEMS))


# --- LangChain's create_agent ---------------------------------------------------------------------


def with_own_agents(engine, cell):
    """Take ``create_agent`` from distgraph, where it is the one that is tested."""
    if engine.is_reference:
        return cell
    pytest.importorskip("distgraph.agents")
    return cell.replace("from langchain.agents", "from distgraph.agents")


def as_coroutine(cell):
    """The same block with ``astream``: the guide has the synchronous one alone."""
    return cell.replace("\nfor ", "\nasync for ").replace("agent.stream(", "agent.astream(")


FACES = {"sync": lambda cell: cell, "async": as_coroutine}
TOOL_CALL = {"type": "tool_call", "name": "get_weather", "args": CITY, "id": "call_0"}


@pytest.mark.parametrize("face", FACES)
def test_create_agent_progress(engine, face):
    cell = with_own_agents(engine, blocks.CREATE_AGENT_UPDATES)
    out, _ = run_cells(engine.package, FACES[face](cell))
    steps = [line.removeprefix("step: ") for line in out.splitlines()[::2]]
    assert steps == ["model", "tools", "model"]
    contents = [eval(line.removeprefix("content: ")) for line in out.splitlines()[1::2]]
    assert contents == [
        [TOOL_CALL],
        [{"type": "text", "text": SUNNY}],
        [{"type": "text", "text": FINAL}],
    ]


@pytest.mark.parametrize("face", FACES)
def test_create_agent_tokens(engine, face):
    cell = with_own_agents(engine, blocks.CREATE_AGENT_TOKENS)
    out, _ = run_cells(engine.package, FACES[face](cell))
    lines = [line for line in out.splitlines() if line]
    nodes = [line.removeprefix("node: ") for line in lines[::2]]
    contents = [eval(line.removeprefix("content: ")) for line in lines[1::2]]
    shown = [(node, block) for node, found in zip(nodes, contents, strict=True) for block in found]
    chunks = [("get_weather", "call_0", ""), *((n, None, args) for n, args in pieces(CITY))]
    assert shown == [
        *(
            (
                "model",
                {"type": "tool_call_chunk", "id": id, "name": name, "args": args, "index": 0},
            )
            for name, id, args in chunks
        ),
        ("tools", {"type": "text", "text": SUNNY}),
        *(("model", {"type": "text", "text": word}) for word in words(FINAL)),
    ]


@pytest.mark.parametrize("face", FACES)
def test_create_agent_custom(engine, face):
    cell = with_own_agents(engine, blocks.CREATE_AGENT_CUSTOM)
    out, _ = run_cells(engine.package, FACES[face](cell))
    assert out == f"{LOOKING}\n{ACQUIRED}\n"


@pytest.mark.parametrize("face", FACES)
def test_create_agent_two_modes(engine, face):
    cell = with_own_agents(engine, blocks.CREATE_AGENT_TWO_MODES)
    shown = collected(engine, FACES[face](cell))
    modes = [line.removeprefix("stream_mode: ") for line in shown[::3]]
    assert modes == ["updates", "custom", "custom", "updates", "updates"]
    contents = [line.removeprefix("content: ") for line in shown[1::3]]
    assert contents[1:3] == [LOOKING, ACQUIRED]
    assert contents[0].startswith("{'model': {'messages': [AIMessage(content=''")
    assert repr(SUNNY) in contents[3] and contents[3].startswith("{'tools': {'messages': [Tool")
    assert f"AIMessage(content={FINAL!r}" in contents[4]


def test_the_models_are_the_servers(models):
    assert os.environ["OPENAI_BASE_URL"] == models.base_url
