"""Ways to end a program: ``python -m tests.project.exits BACKEND WAY`` prints a last line."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from typing_extensions import TypedDict

from distgraph import START, StateGraph, get_stream_writer

BACKEND = sys.argv[1]
INPUT: dict[str, Any] = {"items": []}
KEPT: list[Any] = []
"""What a program holds until the interpreter clears its modules."""


class State(TypedDict):
    items: Annotated[list[str], operator.add]


def graph(*nodes: Callable[..., Any]) -> Any:
    built = StateGraph(State)
    for node in nodes:  # many that do not end, on few CPUs
        built.add_node(node.__name__, node, ray_options={"num_cpus": 0.05})
        built.add_edge(START, node.__name__)
    return built.compile(backend=BACKEND)


def quick(state: State) -> Any:
    get_stream_writer()("here")
    return {"items": ["quick"]}


def stuck(state: State) -> Any:
    get_stream_writer()("here")
    threading.Event().wait()


def stuck_in_a_pool(state: State) -> Any:
    get_stream_writer()("here")
    with ThreadPoolExecutor(1) as pool:  # as of a library that the node calls
        pool.submit(threading.Event().wait).result()


def talkative(state: State) -> Any:
    while True:
        get_stream_writer()("here")


async def asleep(state: State) -> Any:
    get_stream_writer()("here")
    await asyncio.sleep(1000)


async def stuck_in_a_thread(state: State) -> Any:
    get_stream_writer()("here")
    await asyncio.to_thread(threading.Event().wait)


def opened(*nodes: Callable[..., Any]) -> Any:
    """A stream of which only the first chunk was read."""
    stream = graph(*nodes).stream(INPUT, stream_mode="custom")
    assert next(stream) == "here"
    return stream


def the_end() -> None:
    assert graph(quick).invoke(INPUT) == {"items": ["quick"]}


def a_break() -> None:
    for node in (stuck, stuck_in_a_pool, talkative, asleep, stuck_in_a_thread):
        for chunk in graph(node).stream(INPUT, stream_mode="custom"):
            assert chunk == "here"
            break


def left_open() -> None:
    for node in (stuck, stuck_in_a_pool, talkative, asleep, stuck_in_a_thread):
        KEPT.append(opened(node))


def left_open_in_a_cycle() -> None:
    for node in (stuck, stuck_in_a_pool, talkative, asleep, stuck_in_a_thread):
        cycle: list[Any] = [opened(node)]
        cycle.append(cycle)


def left_open_on_a_loop() -> None:
    async def first() -> Any:
        stream = graph(asleep, talkative).astream(INPUT, stream_mode="custom")
        assert await stream.__anext__() == "here"
        return stream

    loop = asyncio.new_event_loop()
    KEPT.extend((loop, loop.run_until_complete(first())))


def left_open_at_the_end_of_a_loop() -> None:
    async def first() -> None:
        for node in (stuck, stuck_in_a_pool, talkative, asleep):
            stream = graph(node).astream(INPUT, stream_mode="custom")
            assert await stream.__anext__() == "here"
            KEPT.append(stream)

    asyncio.run(first())


def left_open_of_all_kinds() -> None:
    a_break()
    left_open()
    left_open_in_a_cycle()
    left_open_on_a_loop()
    readers_in_daemon_threads()


def an_error_in_the_loop() -> None:
    for _ in graph(stuck, talkative).stream(INPUT, stream_mode="custom"):
        raise LookupError("of the caller")


def a_run_in_a_thread() -> None:
    """The interpreter waits for it, as for every thread that is not a daemon."""

    def run() -> None:
        main.wait()
        after = graph(quick).invoke(INPUT)
        print("then", *after["items"], flush=True)

    main = threading.Event()
    threading.Thread(target=run).start()
    threading.Timer(0.5, main.set).start()


def readers_in_daemon_threads() -> None:
    def read(node: Any) -> None:
        for _ in graph(node).stream(INPUT, stream_mode="custom"):
            reading.release()

    reading = threading.Semaphore(0)
    for node in (stuck, talkative, asleep):
        threading.Thread(target=read, args=(node,), daemon=True).start()
        reading.acquire()


def interrupted_batch() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of a shell may ignore it
    caller = os.getpid()

    def node(state: State) -> Any:
        if state["items"]:
            os.kill(caller, signal.SIGINT)
        threading.Event().wait()

    try:
        graph(node).batch([INPUT, {"items": ["interrupt"]}])
    except KeyboardInterrupt:
        return
    raise AssertionError("not interrupted")


def timed_out() -> None:
    import langgraph.graph as theirs
    from langchain_core.messages import AIMessage
    from langgraph.prebuilt import ToolNode as TheirToolNode

    import distgraph
    from distgraph.graph import MessagesState
    from distgraph.prebuilt import ToolNode

    def wait(x: int) -> str:
        """Wait."""
        threading.Event().wait()
        return "late"

    limits: Any = {"wait": {"timeout": 0.2}}
    call = {"name": "wait", "args": {"x": 1}, "id": "1", "type": "tool_call"}
    asking = {"messages": [AIMessage("", tool_calls=[call, {**call, "id": "2"}])]}
    ours = StateGraph(MessagesState).add_node("tools", ToolNode([wait], ray_options=limits))
    their = theirs.StateGraph(theirs.MessagesState).add_node("tools", TheirToolNode([wait]))
    for compiled in (
        ours.add_edge(START, "tools").compile(backend=BACKEND),
        distgraph.distribute(
            their.add_edge(START, "tools").compile(), backend=BACKEND, ray_options=limits
        ),
    ):
        for answered in (compiled.invoke(asking), asyncio.run(compiled.ainvoke(asking))):
            assert [m.status for m in answered["messages"][1:]] == ["error", "error"]


if __name__ == "__main__":
    globals()[sys.argv[2]]()
    print("last line", flush=True)
