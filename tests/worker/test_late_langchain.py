"""A node whose code is the first in its process to import LangChain and LangGraph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, sys
from typing import TypedDict
from distgraph.graph import START, StateGraph

def waiting(first):
    async def node(state):
        while not first and "langgraph.config" not in sys.modules:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01 if first else 0)
        assert ("langchain_core.runnables.config" in sys.modules) is not first
        from langgraph.config import get_config, get_stream_writer
        from langchain_core.callbacks import dispatch_custom_event
        from langchain_core.runnables import RunnableLambda
        get_stream_writer()(first)
        dispatch_custom_event("heard by nobody", 1)
        name = RunnableLambda(lambda x, config: config["metadata"]["langgraph_node"]).invoke(1)
        return {name: get_config()["tags"]}
    return node

builder = StateGraph(TypedDict("State", {"a": list, "b": list}, total=False))
builder.add_node("a", waiting(True)).add_node("b", waiting(False))
graph = builder.add_edge(START, "a").add_edge(START, "b").compile(backend="local")

async def main():
    stream = graph.astream({"a": []}, {"tags": ["t"]}, stream_mode=["custom", "values"])
    return [chunk async for chunk in stream]

told = asyncio.run(main())
print(sorted(c for m, c in told if m == "custom"), told[-1])
"""


def test_it_finds_its_node_and_so_does_code_that_runs_beside_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[False, True] ('values', {'a': ['t'], 'b': ['t']})\n", done.stderr
