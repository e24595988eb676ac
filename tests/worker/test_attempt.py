"""One attempt of a node: whatever the node does, there is an outcome."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from distgraph.concurrency.interrupting import Terminated, expect_termination
from distgraph.config import get_config, get_stream_writer
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, RunInfo, SharedRunOptions
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import Event, StreamRequest
from distgraph.errors import GraphInterrupt, ParentCommand
from distgraph.graph import END, START, StateGraph
from distgraph.serde.exceptions import rebuild_error
from distgraph.types import Command, Interrupt, Overwrite, Send
from distgraph.worker.attempt import HOST, locate, run_async, run_sync
from distgraph.worker.context import active_task
from tests.engine.corpus import State, adds, nested
from tests.engine.play import Play, Recorder, options

CUSTOM = SharedRunOptions("run", StreamRequest(frozenset({"custom"})))


class Attempts:
    """The first attempt of a graph of one node."""

    def __init__(self, node: Callable[..., Any], route: Any = None, *, schema: Any = State) -> None:
        made = StateGraph(schema).add_node("n", node).add_edge(START, "n")
        made.add_node("next", lambda state: None)
        if route is not None:
            made.add_conditional_edges("n", route)
        self.graph = made.compile(backend="local")
        self.stream = Recorder()
        self.info = RunInfo(CUSTOM)

    def request(self, value: Any = None) -> AttemptRequest:
        play = Play(self.graph, options())
        play.start({"items": []} if value is None else value)
        return play.of("n").request

    def run(self, value: Any = None, **changes: Any) -> AttemptOutcome:
        request = replace(self.request(value), **changes)
        return run_sync(self.graph.program, request, self.info, self.stream)

    def arun(self, value: Any = None) -> AttemptOutcome:
        request = self.request(value)
        return asyncio.run(run_async(self.graph.program, request, self.info, self.stream))


def raises(error: BaseException) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        raise error

    return node


def araises(error: BaseException) -> Callable[[Any], Any]:
    async def node(state: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return node


def rebuilt(outcome: AttemptOutcome) -> BaseException:
    assert isinstance(outcome.error, ShippedError)
    return rebuild_error(outcome.error)


# --- ok -------------------------------------------------------------------------------------------


def test_what_a_node_returns_comes_back_as_writes() -> None:
    attempts = Attempts(lambda state: {"items": ["x"], "n": 2, "unknown": 1})
    outcome = attempts.run()
    assert outcome.status == "ok"
    assert outcome.writes == (("items", ["x"]), ("n", 2))
    assert outcome.error is None
    assert (outcome.task_id, outcome.attempt) == (attempts.request().task_id, 1)


def test_an_outcome_says_where_and_how_long() -> None:
    outcome = Attempts(lambda state: None).run()
    assert (outcome.host, outcome.pid) == (HOST, os.getpid())
    assert outcome.started_at > 1_600_000_000
    assert 0 <= outcome.duration < 5


def test_edges_commands_and_sends_are_writes_too() -> None:
    def node(state: Any) -> Any:
        return Command(update={"n": 1}, goto=["next", Send("next", 7)])

    assert Attempts(node).run().writes == (
        ("n", 1),
        ("branch:to:next", None),
        ("__pregel_tasks", Send("next", 7)),
    )


def test_events_are_emitted_and_counted() -> None:
    def node(state: Any, writer: Any) -> None:
        writer("a")
        get_stream_writer()({"b": 1})

    attempts = Attempts(node)
    assert attempts.run().published == 2
    assert attempts.stream.events == [Event((), "custom", "a"), Event((), "custom", {"b": 1})]
    assert attempts.stream.closed


def test_a_coroutine_and_a_function_have_the_same_outcome() -> None:
    async def node(state: Any, writer: Any) -> Any:
        await asyncio.sleep(0)
        writer("a")
        return {"items": ["x"]}

    outcome = Attempts(node).arun()
    assert (outcome.status, outcome.writes, outcome.published) == ("ok", (("items", ["x"]),), 1)


def test_the_node_s_function_gets_the_input_of_its_request() -> None:
    seen: list[Any] = []
    attempts = Attempts(lambda state: seen.append(state))
    attempts.run({"items": [1]})
    attempts.run(reads=None, input="sent", state={})
    assert seen == [{"items": [1]}, "sent"]


def test_the_config_tells_where_the_node_stands() -> None:
    seen: list[Any] = []
    attempts = Attempts(lambda state: seen.append(get_config()))
    attempts.run(attempt=3)
    (config,) = seen
    assert "run_name" not in config  # it would name what the node calls
    assert config["metadata"]["langgraph_step"] == 1
    assert config["metadata"]["langgraph_node"] == "n"
    assert config["configurable"]["__pregel_task_id"] == attempts.request().task_id


def test_nothing_of_an_attempt_is_left_when_it_has_ended() -> None:
    Attempts(lambda state: None).run()
    Attempts(raises(ValueError("no"))).run()
    assert active_task() is None


def test_a_node_of_a_nested_graph_is_found_by_its_path() -> None:
    graph = nested().compile(backend="local")
    play = Play(graph)
    play.start({"items": []})
    request = play.of("i1").request
    located = locate(graph.program, request)
    assert located.program.name == "i1"
    assert not located.needs_loop(request, RunInfo(CUSTOM))
    outcome = run_sync(graph.program, request, RunInfo(CUSTOM), Recorder())
    assert outcome.writes == (("items", ["i1"]),)


def test_what_waits_needs_a_loop() -> None:
    async def node(state: Any) -> None: ...

    async def route(state: Any) -> str:
        return END

    for attempts, waits in (
        (Attempts(adds("n")), False),
        (Attempts(node), True),
        (Attempts(adds("n"), route), True),
    ):
        request = attempts.request()
        assert locate(attempts.graph.program, request).needs_loop(request, RunInfo(CUSTOM)) is waits


# --- conditional edges ----------------------------------------------------------------------------


def test_a_conditional_edge_sees_the_state_with_the_node_s_own_writes() -> None:
    seen: list[Any] = []

    def route(state: Any) -> str:
        seen.append(state)
        return "next"

    outcome = Attempts(lambda state: {"items": ["x"], "n": 5}, route).run({"items": [1], "n": 0})
    assert seen == [{"items": [1, "x"], "n": 5}]
    assert outcome.writes[-1] == ("branch:to:next", None)


def test_what_a_conditional_edge_sees_leaves_the_request_s_state_alone() -> None:
    attempts = Attempts(lambda state: {"items": Overwrite(["only"])}, lambda state: END)
    request = attempts.request({"items": [1]})
    run_sync(attempts.graph.program, request, attempts.info, attempts.stream)
    assert request.state == {"items": [1]}


def test_a_conditional_edge_that_fails_leaves_what_its_node_wrote() -> None:
    def route(state: Any) -> str:
        raise KeyError("route")

    outcome = Attempts(lambda state: {"items": ["x"]}, route).run()
    assert outcome.status == "error"
    assert outcome.writes == (("items", ["x"]),)
    assert isinstance(rebuilt(outcome), KeyError)


def test_a_node_that_fails_leaves_nothing() -> None:
    outcome = Attempts(raises(ValueError("no"))).run()
    assert (outcome.status, outcome.writes) == ("error", ())


def test_the_writers_of_a_subgraph_run_without_its_node() -> None:
    ran: list[Any] = []
    attempts = Attempts(lambda state: ran.append(1), lambda state: "next")
    outcome = attempts.run(kind="writers", input={"items": ["from inside"]})
    assert ran == []
    assert outcome.writes == (("items", ["from inside"]), ("branch:to:next", None))


def test_a_conditional_edge_that_waits_runs_beside_a_function() -> None:
    thread: list[Any] = []

    def node(state: Any) -> Any:
        thread.append(threading.current_thread())
        return {"items": ["x"]}

    async def route(state: Any) -> str:
        await asyncio.sleep(0)
        return "next"

    outcome = Attempts(node, route).arun()
    assert outcome.writes == (("items", ["x"]), ("branch:to:next", None))
    assert thread != [threading.current_thread()], "it would have blocked the loop"


# --- what leaves a node by raise ------------------------------------------------------------------


def test_an_error_comes_with_node_step_attempt_and_process() -> None:
    outcome = Attempts(raises(ValueError("no luck"))).run(attempt=2, tries=2)
    error = rebuilt(outcome)
    assert type(error) is ValueError and str(error) == "no luck"
    assert outcome.error is not None
    during, where = error.__notes__  # type: ignore[attr-defined]
    assert during.startswith("During task with name 'n' and id ")
    assert where == f"node 'n', step 1, attempt 2, on host {HOST}, process {os.getpid()}"
    assert traceback.extract_tb(error.__traceback__)[-1].line == "raise error"


@pytest.mark.parametrize("make", [raises, araises])
def test_an_interrupt_carries_its_questions(make: Any) -> None:
    asked = (Interrupt("sure?", "id"),)
    attempts = Attempts(make(GraphInterrupt(asked)))
    outcome = attempts.run() if make is raises else attempts.arun()
    assert (outcome.status, outcome.interrupts, outcome.error) == ("interrupt", asked, None)


def test_a_command_to_the_parent_is_an_outcome_of_its_own() -> None:
    command = Command(graph=Command.PARENT, update={"n": 1})
    outcome = Attempts(lambda state: command).run()
    assert (outcome.status, outcome.value, outcome.writes) == ("command", command, ())


def test_a_command_to_the_parent_of_a_graph_inside_the_node_is_for_the_node_s_own_graph() -> None:
    command = Command(graph=Command.PARENT, update={"n": 1}, goto="next")
    bubble = ParentCommand(command, has_arrived=True)
    outcome = Attempts(raises(bubble)).run()
    assert outcome.status == "ok"
    assert outcome.writes == (("n", 1), ("branch:to:next", None))


def test_keyboard_interrupt_is_how_an_attempt_is_cancelled() -> None:
    outcome = Attempts(raises(KeyboardInterrupt())).run()
    assert outcome.status == "cancelled"
    assert type(rebuilt(outcome)) is KeyboardInterrupt


def test_a_coroutine_that_is_cancelled_has_an_outcome() -> None:
    def node_of(begun: asyncio.Event) -> Any:
        async def node(state: Any, writer: Any) -> None:
            writer("before")
            begun.set()
            await asyncio.sleep(60)

        return node

    async def main() -> AttemptOutcome:
        begun = asyncio.Event()
        attempts = Attempts(node_of(begun))
        task = asyncio.ensure_future(
            run_async(attempts.graph.program, attempts.request(), attempts.info, attempts.stream)
        )
        await begun.wait()
        task.cancel()
        return await task

    outcome = asyncio.run(main())
    assert (outcome.status, outcome.published) == ("cancelled", 1)


@pytest.mark.parametrize("code", [0, 7, "text"])
def test_sys_exit_is_the_node_s_failure_and_not_the_worker_s_end(code: Any) -> None:
    outcome = Attempts(lambda state: sys.exit(code)).run()
    error = rebuilt(outcome)
    assert isinstance(error, SystemExit)
    assert (outcome.status, error.code) == ("error", code)


def test_an_attempt_whose_process_is_asked_to_end_has_no_outcome() -> None:
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def node(state: Any) -> Any:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            cleaned.append(True)

    expect_termination()
    try:
        with pytest.raises(Terminated):
            Attempts(node).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cleaned == [True]


class Odd(BaseException):
    """No ``Exception``."""


@pytest.mark.parametrize("error", [Odd("odd"), GeneratorExit("g"), StopIteration("s")])
def test_whatever_is_raised_there_is_an_outcome(error: BaseException) -> None:
    attempts = Attempts(raises(error))
    outcome = attempts.run()
    assert outcome.status == "error" and outcome.error is not None
    assert attempts.stream.closed


def test_a_node_that_awaits_where_nothing_can_wait_has_an_outcome() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    attempts = Attempts(lambda state: waits())
    outcome = attempts.run()
    assert outcome.status == "error"
    assert "async def" in str(rebuilt(outcome))
    assert attempts.stream.closed


def test_what_a_plain_node_returns_is_a_value_also_where_it_is_awaitable() -> None:
    class Reference:
        def __await__(self) -> Any:
            raise AssertionError("awaited")
            yield

    given = Reference()
    outcome = Attempts(lambda state: {"items": [given]}).run()
    assert outcome.writes[0] == ("items", [given])
    assert "Expected dict" in str(rebuilt(Attempts(lambda state: given).run()))


def test_what_was_emitted_before_a_failure_is_counted() -> None:
    def node(state: Any, writer: Any) -> None:
        writer("a")
        raise ValueError("no")

    outcome = Attempts(node).run()
    assert (outcome.status, outcome.published) == ("error", 1)


def test_a_writer_that_fails_is_the_node_s_failure() -> None:
    class Refusing(Recorder):
        def emit(self, event: Event) -> None:
            raise OSError("stream is gone")

    attempts = Attempts(adds("n"))
    attempts.stream = Refusing()
    outcome = attempts.run()
    assert isinstance(rebuilt(outcome), OSError)
    assert outcome.published == 0


def test_an_input_that_does_not_fit_the_schema_is_the_node_s_failure() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Strict(pydantic.BaseModel):
        n: int

    attempts = Attempts(lambda state: None, schema=Strict)
    outcome = attempts.run({"n": 1}, state={"n": "no number"})
    assert outcome.status == "error"
    assert outcome.error is not None and outcome.error.type_name.endswith("ValidationError")


def test_the_play_s_requests_are_what_the_engine_makes() -> None:
    play = Play(Attempts(adds("n")).graph)
    play.start({"items": []})
    assert isinstance(play.started[0], StartTask)
    assert play.of("n").request == Attempts(adds("n")).request()
