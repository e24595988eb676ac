"""Attempts on a cluster: a dead worker is tried again, and what it had sent stays as it is."""

import os
import signal
import time

import pytest

from tests.support.cluster import wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray


def dies_at_first(runtime, writer, state):
    attempt = runtime.execution_info.node_attempt
    for number in range(3):
        writer({"node": "dies", "attempt": attempt, "number": number})
    if attempt == 1:
        time.sleep(0.5)  # what was written is on its way
        os.kill(os.getpid(), signal.SIGKILL)
    return {"items": [attempt]}


def graph(ns, is_async=False, **policy):
    def dies(state, runtime, writer):
        return dies_at_first(runtime, writer, state)

    async def adies(state, runtime, writer):
        return dies_at_first(runtime, writer, state)

    retries = ns.RetryPolicy(**{"initial_interval": 0.01, "jitter": False, **policy})
    builder = ns.StateGraph(Items)
    builder.add_node("dies", adies if is_async else dies, retry_policy=retries)
    builder.add_node("after", adds("after"))
    return builder.add_edge(ns.START, "dies").add_edge("dies", "after")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_default_policy_tries_again_after_the_death_of_a_worker(on_ray, is_async):
    made = on_ray.compile(graph(on_ray, is_async))
    chunks = list(made.stream({"items": []}, stream_mode=["custom", "updates"]))
    custom = [chunk for mode, chunk in chunks if mode == "custom" and "attempt" in chunk]
    written = [(chunk["attempt"], chunk["number"]) for chunk in custom]
    # an attempt that was lost leaves a beginning, and nothing of it comes behind that of the next
    lost = [entry for entry in written if entry[0] == 1]
    assert written == [*lost, (2, 0), (2, 1), (2, 2)]
    assert lost == [(1, number) for number in range(len(lost))]
    updates = [chunk for mode, chunk in chunks if mode == "updates"]
    assert updates == [{"dies": {"items": [2]}}, {"after": {"items": ["after"]}}]
    wait_for_free_cpus()


def test_a_policy_that_does_not_name_it_leaves_the_error(on_ray):
    from distgraph.errors import WorkerDied

    with pytest.raises(WorkerDied, match="node 'dies', step 1, attempt 1"):
        on_ray.compile(graph(on_ray, retry_on=ValueError)).invoke({"items": []})


def test_a_synchronous_node_that_cannot_be_interrupted_ends_with_its_process(on_ray):
    def stubborn(state, runtime):
        if runtime.execution_info.node_attempt == 1:
            until = time.monotonic() + 600
            while time.monotonic() < until:
                try:
                    time.sleep(600)
                except KeyboardInterrupt:
                    continue
        return {"items": [runtime.execution_info.node_attempt]}

    retries = on_ray.RetryPolicy(initial_interval=0.01, jitter=False)
    builder = on_ray.StateGraph(Items)
    builder.add_node("stubborn", stubborn, timeout=0.5, retry_policy=retries)
    made = on_ray.compile(builder.add_edge(on_ray.START, "stubborn"))
    assert made.invoke({"items": []}) == {"items": [2]}
    wait_for_free_cpus()


def test_tool_calls_of_one_message_are_tried_again_one_by_one(on_ray):
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    from distgraph.graph import MessagesState
    from distgraph.prebuilt import ToolNode

    @tool
    def look(key: str) -> str:
        """Look something up."""
        from distgraph.runtime import get_runtime

        if key == "b" and get_runtime().execution_info.node_attempt == 1:
            raise ConnectionError("not yet")
        return f"{key} {get_runtime().execution_info.node_attempt}"

    calls = [{"name": "look", "args": {"key": key}, "id": key} for key in "abc"]
    retries = on_ray.RetryPolicy(initial_interval=0.01, jitter=False)
    builder = on_ray.StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([look], handle_tool_errors=False), retry_policy=retries)
    made = on_ray.compile(builder.add_edge(on_ray.START, "tools"))
    final = made.invoke({"messages": [AIMessage("", tool_calls=calls)]})
    assert [m.content for m in final["messages"][1:]] == ["a 1", "b 2", "c 1"]
