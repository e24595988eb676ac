"""How many steps are left, and the limit of steps, when a thread goes on."""

import operator
import subprocess
import sys
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver


def counting(engine):
    class Log(TypedDict):
        log: Annotated[list, operator.add]
        left: engine.RemainingSteps
        last: engine.IsLastStep

    def node(state):
        return {"log": [(state["left"], state["last"])]}

    builder = engine.StateGraph(Log)
    for name in ("a", "b", "c"):
        builder.add_node(name, node)
    builder.add_edge(engine.START, "a").add_edge("a", "b").add_edge("b", "c")
    return builder


@pytest.mark.parametrize("limit", [4, 5, 20])
@pytest.mark.parametrize("stop", ["a", "b"])
def test_steps_are_counted_from_where_the_run_goes_on(here, limit, stop):
    seen = []
    for engine in (here.reference, here.contender):
        graph = engine.compile(
            counting(engine), checkpointer=InMemorySaver(), interrupt_after=[stop]
        )
        config = {"configurable": {"thread_id": "1"}, "recursion_limit": limit}
        graph.invoke({"log": []}, config)
        seen.append(graph.invoke(None, config)["log"])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


def test_the_limit_of_the_environment():
    code = (
        "from distgraph.graph import StateGraph, START\n"
        "g = StateGraph(dict).add_node('a', lambda s: s).add_edge(START, 'a').add_edge('a', 'a')\n"
        "g.compile(backend='local').invoke({'n': 1})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LANGGRAPH_DEFAULT_RECURSION_LIMIT": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "recursion limit of 7 supersteps reached" in done.stderr
