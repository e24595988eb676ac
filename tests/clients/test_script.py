"""``python file.py``: the models and clients of a script belong to its ``__main__``."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.engines import REFERENCE, REFERENCE_AWAITS, Engine, selected

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = """
import asyncio
import os

from PACKAGE.graph import START, MessagesState, StateGraph
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI

llm = ChatOpenAI(model="gpt-x", stream_usage=True)
writer_client = AsyncOpenAI()


def lookup(key: str) -> str:
    "Look a key up."
    return key


def talk(state: MessagesState):
    return {"messages": llm.invoke(state["messages"])}


def closed_over(client):
    def plain(state: MessagesState, writer):
        request = {"model": "m", "messages": [{"role": "user", "content": "plain"}]}
        for chunk in client.chat.completions.create(**request, stream=True):
            writer(chunk.choices[0].delta.content)

    return plain


async def awaited(state: MessagesState, writer, client=writer_client):
    request = {"model": "m", "messages": [{"role": "user", "content": "awaited"}]}
    async for chunk in await client.chat.completions.create(**request, stream=True):
        writer(chunk.choices[0].delta.content)


class Agent:
    def __init__(self, model):
        self.model = model.bind_tools([lookup])
        self.pid = os.getpid()

    def __call__(self, state: MessagesState, writer):
        writer(f"elsewhere: {os.getpid() != self.pid}")
        return {"messages": self.model.invoke("agent")}


builder = StateGraph(MessagesState)
builder.add_sequence(
    [talk, ("plain", closed_over(OpenAI())), awaited, ("agent", Agent(llm))]
)
graph = builder.add_edge(START, "talk").compile()


async def main():
    inputs = {"messages": [{"role": "user", "content": "hi"}]}
    async for mode, chunk in graph.astream(inputs, stream_mode=["messages", "custom"]):
        if mode == "custom" and chunk:
            print("custom", chunk)
        elif mode == "messages" and chunk[0].content:
            print(chunk[1]["langgraph_node"], chunk[0].content)
        elif mode == "messages" and chunk[0].usage_metadata:
            print(chunk[1]["langgraph_node"], chunk[0].usage_metadata["output_tokens"])


asyncio.run(main())
"""
PRINTED = """
talk echo:
talk hi
talk 2
custom echo:
custom plain
custom echo:
custom awaited
custom elsewhere: ELSEWHERE
agent echo:
agent agent
agent 2
"""
ENGINES = [
    *([REFERENCE] if REFERENCE_AWAITS else []),
    "local",
    pytest.param("ray", marks=pytest.mark.ray),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_script_of_its_own(serve, tmp_path, engine):
    if engine not in selected():
        pytest.skip(f"{engine} is not among DISTGRAPH_TEST_ENGINES")
    server = serve()
    script = tmp_path / "talk.py"
    script.write_text(SCRIPT.replace("PACKAGE", Engine(engine).package))
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "from-env",
        "OPENAI_BASE_URL": server.base_url,
    }
    env.pop("RAY_ADDRESS", None)
    env.pop("DISTGRAPH_BACKEND", None)
    if engine == "local":
        env["DISTGRAPH_BACKEND"] = "local"
    done = subprocess.run(
        [sys.executable, str(script)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    expected = PRINTED.replace("ELSEWHERE", str(engine == "ray"))
    assert [line.rstrip() for line in done.stdout.splitlines()] == expected.split("\n")[1:-1]
    assert [r["authorization"] for r in server.requests] == ["Bearer from-env"] * 4
