"""Started runs on both backends: handles, several readers, cancelling, callbacks, policies."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distgraph import attach
from distgraph.backends.local_started_runs import KeptStream, LocalStarted
from distgraph.errors import RunCancelled, RunError, RunNotFound, Truncated, UnsupportedError
from distgraph.graph import START, StateGraph
from distgraph.runs import NumberedChunk, Retention, list_runs
from tests.support.cluster import eventually, wait_for_free_cpus
from tests.support.graphs import Items

MODES = ["custom", "updates"]


def chain(ns: Any, *names: str, tokens: int = 3, gate: threading.Event | None = None) -> Any:
    """Nodes behind each other that write tokens, each async but the first; it waits at a gate."""
    builder = ns.StateGraph(Items)

    def first(state: Items, writer: Any) -> Any:
        if gate is not None:
            gate.wait()
        for number in range(tokens):
            writer((names[0], number))
        return {"items": [names[0]]}

    def later(name: str) -> Any:
        async def node(state: Items, writer: Any) -> Any:
            for number in range(tokens):
                writer((name, number))
            return {"items": [name]}

        return node

    builder.add_node(names[0], first).add_edge(ns.START, names[0])
    for before, name in itertools.pairwise(names):
        builder.add_node(name, later(name)).add_edge(before, name)
    return ns.compile(builder)


def chunks_of(*names: str, tokens: int = 3) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in names:
        found += [("custom", (name, number)) for number in range(tokens)]
        found.append(("updates", {name: {"items": [name]}}))
    return found


def waits(ns: Any, **compile_options: Any) -> Any:
    """A graph whose node writes a token, and goes on for a minute unless it is ended."""

    def node(state: Items, writer: Any) -> Any:
        writer("started")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.02)
            writer("alive")
        return {"items": ["late"]}

    return ns.compile(
        ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n"), **compile_options
    )


def test_a_started_run_gives_numbered_chunks_and_its_result(ours: Any) -> None:
    run = chain(ours, "a", "b").start({"items": []}, stream_mode=MODES)
    numbered = list(run.events())
    assert [chunk for _, chunk in numbered] == chunks_of("a", "b")
    assert [seq for seq, _ in numbered] == [*range(1, 9)]
    assert isinstance(numbered[0], NumberedChunk)
    assert run.result(timeout=60) == {"items": ["a", "b"]}
    assert run.status == "success"


def test_a_stream_and_the_events_of_a_started_run_are_the_same(ours: Any) -> None:
    graph = chain(ours, "a", "b")
    for options in ({}, {"stream_mode": MODES}, {"stream_mode": "values", "version": "v2"}):
        streamed = list(graph.stream({"items": []}, **options))
        run = graph.start({"items": []}, **options)
        assert [chunk for _, chunk in run.events()] == streamed


def test_awaiting_forms_give_the_same(ours: Any) -> None:
    graph = chain(ours, "a", "b")

    async def main() -> None:
        run = await graph.astart({"items": []}, stream_mode=MODES)
        numbered = [item async for item in run.aevents()]
        assert [chunk for _, chunk in numbered] == chunks_of("a", "b")
        assert [item async for item in run.aevents(after=5)] == numbered[5:]
        assert await run.aresult(timeout=60) == {"items": ["a", "b"]}
        assert await run.astatus() == "success"

    asyncio.run(main())


def test_readers_come_and_go_and_see_the_same_from_any_number(ours: Any) -> None:
    run = chain(ours, "a", "b", "c").start({"items": []}, stream_mode=MODES)
    whole = list(run.events())
    first = []
    for item in run.events():
        first.append(item)
        if len(first) == 5:
            break
    assert first + list(run.events(after=first[-1].seq)) == whole
    assert [list(run.events(after=n)) for n in range(13)] == [whole[n:] for n in range(13)]
    assert list(attach(run.run_id).events()) == whole
    assert list(pickle.loads(pickle.dumps(run)).events(after=7)) == whole[7:]


def test_readers_at_once_see_the_same(ours: Any) -> None:
    run = chain(ours, "a", "b", tokens=200).start({"items": []}, stream_mode=MODES)
    seen: list[list[NumberedChunk]] = [[], [], []]
    readers = [
        threading.Thread(target=lambda into=into: into.extend(run.events())) for into in seen
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert [chunk for _, chunk in seen[0]] == chunks_of("a", "b", tokens=200)
    assert seen[0] == seen[1] == seen[2]


def test_neither_leaving_a_reader_nor_its_exception_ends_the_run(ours: Any) -> None:
    run = chain(ours, "a", "b").start({"items": []}, stream_mode=MODES)
    next(run.events())
    with pytest.raises(KeyboardInterrupt):
        for _ in run.events():
            raise KeyboardInterrupt
    assert run.result(timeout=60) == {"items": ["a", "b"]}


def test_a_cancelled_run_ends_for_every_reader_and_frees_what_it_held(ours: Any) -> None:
    run = waits(ours).start({"items": []}, stream_mode="custom")
    reader = run.events()
    assert next(reader).chunk == "started"
    run.cancel(wait=True)
    assert run.status == "cancelled"
    with pytest.raises(RunCancelled, match=f"run {run.run_id} was cancelled"):
        list(reader)
    with pytest.raises(RunCancelled):
        run.result(timeout=60)
    run.cancel()
    assert run.status == "cancelled"
    if ours.name == "ray":
        wait_for_free_cpus()


class Struck(BaseException):
    """Raised by a signal handler."""


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets a signal handler raise ``Struck`` while a run writes to its stream the next time."""
    drive, main = KeptStream.drive, threading.main_thread().ident
    assert main is not None

    def strikes(number: int, frame: object) -> None:
        raise Struck

    def strike(stream: KeptStream, *batch: Any, awaited: bool) -> Any:
        monkeypatch.setattr(KeptStream, "drive", drive)
        signal.pthread_kill(main, signal.SIGUSR1)
        return drive(stream, *batch, awaited=awaited)

    before = signal.signal(signal.SIGUSR1, strikes)
    yield lambda: monkeypatch.setattr(KeptStream, "drive", strike)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def endless() -> Iterator[Any]:
    """A graph on the local backend that runs until the test has ended."""
    forever = threading.Event()
    graph = StateGraph(Items).add_node("n", lambda state: forever.wait()).add_edge(START, "n")
    yield graph.compile(backend="local")
    forever.set()


def test_an_exception_of_a_signal_handler_within_cancel_reaches_its_caller(
    struck: Any, endless: Any
) -> None:
    run = endless.start({"items": []})
    struck()
    with pytest.raises(Struck):
        run.cancel()
    with pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert run.status == "cancelled"


def test_an_exception_of_a_signal_handler_within_start_reaches_its_caller_and_cancels_the_run(
    struck: Any, endless: Any
) -> None:
    run_id = uuid.uuid4()
    struck()
    with pytest.raises(Struck):
        endless.start({"items": []}, {"run_id": run_id})
    with pytest.raises(RunCancelled):
        attach(str(run_id), backend="local").result(timeout=60)
    assert attach(str(run_id), backend="local").status == "cancelled"


def test_a_run_that_cannot_be_started_leaves_the_one_of_its_id_alone(endless: Any) -> None:
    run_id = uuid.uuid4()
    run = endless.start({"items": []}, {"run_id": run_id})
    with pytest.raises(RunError, match="known already"):
        endless.start({"items": []}, {"run_id": run_id})
    assert run.status == "running"
    run.cancel()


def test_a_result_in_time_or_a_timeout_that_leaves_the_run_alone(ours: Any) -> None:
    run = waits(ours).start({"items": []}, stream_mode="custom")
    assert next(run.events()).chunk == "started"
    with pytest.raises(TimeoutError, match="has not ended within 0.05 s; it goes on"):
        run.result(timeout=0.05)
    assert run.status == "running"

    async def main() -> None:
        with pytest.raises(TimeoutError, match="has not ended within 0.05 s; it goes on"):
            await attach(run.run_id).aresult(timeout=0.05)
        await run.acancel(wait=True)

    asyncio.run(main())
    assert run.status == "cancelled"


def test_a_failing_node_is_its_own_exception_for_every_reader(ours: Any) -> None:
    def node(state: Items) -> Any:
        raise LookupError("no such item")

    run = ours.compile(ours.StateGraph(Items).add_node("n", node).add_edge(ours.START, "n")).start(
        {"items": []}
    )
    for read in (lambda: list(run.events()), run.result, lambda: list(run.events())):
        with pytest.raises(LookupError, match="no such item"):
            read()
    assert run.status == "error"


def test_a_run_that_asks_is_interrupted_and_its_result_has_the_question(ours: Any) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    def node(state: Items) -> Any:
        return {"items": [ours.interrupt("go on?")]}

    graph = ours.compile(
        ours.StateGraph(Items).add_node("n", node).add_edge(ours.START, "n"),
        checkpointer=InMemorySaver(),
    )
    config = {"configurable": {"thread_id": "t"}}
    run = graph.start({"items": []}, config)
    (question,) = run.result(timeout=60)["__interrupt__"]
    assert question.value == "go on?"
    assert (run.status, run.info.thread_id) == ("interrupted", "t")
    again = graph.start(ours.Command(resume="yes"), config)
    assert again.result(timeout=60) == {"items": ["yes"]}


def test_the_result_has_the_output_schema_s_keys_and_values_the_whole_state(ours: Any) -> None:
    from typing import TypedDict

    class Inner(TypedDict):
        items: list[str]
        hidden: int

    class Shown(TypedDict):
        items: list[str]

    def node(state: Inner) -> Any:
        return {"items": ["a"], "hidden": 1}

    graph = ours.compile(
        ours.StateGraph(Inner, output_schema=Shown).add_node("n", node).add_edge(ours.START, "n")
    )
    value = {"items": [], "hidden": 0}
    run = graph.start(value, stream_mode="values")
    assert [chunk for _, chunk in run.events()] == list(graph.stream(value, stream_mode="values"))
    assert run.result() == graph.invoke(value) == {"items": ["a"]}


def test_callbacks_of_a_started_run_are_called_without_any_reader(ours: Any) -> None:
    from langchain_core.callbacks import BaseCallbackHandler

    told = []

    class Heard(BaseCallbackHandler):
        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            told.append(("start", kwargs.get("name")))

        def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
            told.append(("end", None))

    run = chain(ours, "a").start({"items": []}, {"callbacks": [Heard()]})
    run.result(timeout=60)
    assert [what for what, _ in told] == ["start", "start", "end", "end"]
    assert told[1] == ("start", "a")


def test_print_mode_prints_once_however_many_read(ours: Any, capsys: Any) -> None:
    run = chain(ours, "a").start({"items": []}, print_mode="updates")
    list(run.events())
    list(run.events())
    run.result(timeout=60)
    assert capsys.readouterr().out.count("[updates]") == 1


def test_a_reader_that_begins_now_gets_what_comes_from_now_on(ours: Any) -> None:
    run = waits(ours).start({"items": []}, stream_mode="custom")
    eventually(lambda: run.info.last > 2, "three events")
    reader = run.events(after=None)
    assert next(reader).seq > 3
    run.cancel()


def test_beyond_what_is_kept_a_reader_gets_truncated_with_the_way_on(ours: Any) -> None:
    graph = chain(ours, "a", "b")
    run = graph.start({"items": []}, stream_mode=MODES, retention=Retention(events=4))
    assert run.result(timeout=60) == {"items": ["a", "b"]}
    with pytest.raises(Truncated, match=r"read on with events\(after=") as caught:
        list(run.events())
    rest = [chunk for _, chunk in run.events(after=caught.value.oldest - 1)]
    assert rest == chunks_of("a", "b")[-len(rest) :]
    assert 0 < len(rest) <= 4


def test_an_absent_reader_slows_nobody(ours: Any, monkeypatch: Any) -> None:
    run = chain(ours, "a", tokens=20_000).start(
        {"items": []}, stream_mode="custom", retention=Retention(bytes=1000)
    )
    stays = run.events()
    assert run.result(timeout=30) == {"items": ["a"]}
    with pytest.raises(Truncated):
        list(stays)


def test_an_id_that_is_known_already_is_refused(ours: Any) -> None:
    graph = chain(ours, "a")
    config = {"run_id": uuid.uuid4()}
    run = graph.start({"items": []}, config)
    assert run.run_id == str(config["run_id"])
    with pytest.raises(RunError, match="is known already"):
        graph.start({"items": []}, config)
    assert run.result(timeout=60) == {"items": ["a"]}


def test_started_runs_are_listed_and_unknown_ones_are_not_found(ours: Any) -> None:
    run = chain(ours, "a").start({"items": []}, stream_mode=MODES)
    run.result(timeout=60)
    (info,) = [info for info in list_runs() if info.run_id == run.run_id]
    assert (info.status, info.detached, info.last, info.oldest) == ("success", False, 5, 1)
    with pytest.raises(RunNotFound, match="no run nobody is known"):
        attach("nobody")


def test_a_run_over_its_time_to_live_is_cancelled(ours: Any) -> None:
    run = waits(ours).start({"items": []}, time_to_live=0.1)
    with pytest.raises(RunCancelled):
        run.result(timeout=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow_reader": "drop"}, "slow_reader='drop': choose from 'truncate', 'wait'"),
        ({"time_to_live": 0}, "time_to_live must be a number of seconds above 0"),
        ({"retention": 5}, "retention must be a distgraph.runs.Retention, got int"),
        ({"stream_mode": "tokens"}, "unknown stream_mode 'tokens'"),
    ],
)
def test_bad_options_are_refused_by_the_call(options: Any, message: str) -> None:
    from tests.support.engines import Engine

    with pytest.raises((ValueError, TypeError), match=message):
        chain(Engine("local"), "a").start({"items": []}, **options)


@pytest.mark.parametrize(
    ("after", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_bad_number_is_refused_by_the_call(after: Any, error: type[Exception]) -> None:
    from tests.support.engines import Engine

    run = chain(Engine("local"), "a").start({"items": []})
    with pytest.raises(error, match="after"):
        run.events(after=after)


def test_a_node_cannot_start_a_run_that_would_outlive_it(ours: Any) -> None:
    inner = chain(ours, "a")

    def node(state: Items) -> Any:
        inner.start({"items": []})

    graph = ours.compile(ours.StateGraph(Items).add_node("n", node).add_edge(ours.START, "n"))
    with pytest.raises(UnsupportedError, match="inside a node"):
        graph.invoke({"items": []})


def test_what_cannot_be_detached_is_refused_by_name(ours: Any) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.store.memory import InMemoryStore

    if ours.name == "local":
        with pytest.raises(UnsupportedError, match="outlives this one, and the local backend"):
            chain(ours, "a").start({"items": []}, detached=True)
        return
    builder = chain(ours, "a").builder
    config = {"configurable": {"thread_id": "t"}}
    for options, name in (
        ({"checkpointer": InMemorySaver()}, "checkpointer InMemorySaver"),
        ({"store": InMemoryStore()}, "store InMemoryStore"),
    ):
        with pytest.raises(UnsupportedError, match=f"lives in this process: {name}. Use one that"):
            ours.compile(builder, **options).start({"items": []}, config, detached=True)


def test_a_local_run_needs_its_event_loop_and_says_so() -> None:
    from tests.support.engines import Engine

    graph = chain(Engine("local"), "a", "b")

    async def main() -> None:
        run = await graph.astart({"items": []})
        with pytest.raises(RuntimeError, match="use aresult"):
            run.result()
        assert await run.aresult(timeout=60) == {"items": ["a", "b"]}

    asyncio.run(main())


@pytest.fixture
def small_stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits of 20 unread events for the started runs of this process."""
    from distgraph.backends.local_started_runs import started_runs

    monkeypatch.setenv("DISTGRAPH_STREAM_EVENTS", "20")
    started_runs.cache_clear()
    yield
    started_runs.cache_clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Opens with the first reader of a run on the local backend."""
    gate, opens = threading.Event(), LocalStarted.open

    def opened(run: LocalStarted, *args: Any, **options: Any) -> Any:
        reader = opens(run, *args, **options)
        gate.set()
        return reader

    monkeypatch.setattr(LocalStarted, "open", opened)
    return gate


@pytest.mark.usefixtures("small_stream")
def test_with_wait_a_run_waits_for_a_slow_reader_and_nothing_is_lost(
    gate: threading.Event,
) -> None:
    from tests.support.engines import Engine

    run = chain(Engine("local"), "a", "b", tokens=300, gate=gate).start(
        {"items": []}, stream_mode=MODES, slow_reader="wait", retention=Retention(events=0)
    )
    reader = run.events()
    seen = [next(reader)]
    eventually(lambda: run.info.last >= 20, "the log is over its limit")
    before = run.info.last
    assert before < 300
    assert run.status == "running"
    seen += list(reader)
    assert [chunk for _, chunk in seen] == chunks_of("a", "b", tokens=300)
    assert run.result(timeout=60) == {"items": ["a", "b"]}


@pytest.mark.usefixtures("small_stream")
def test_with_wait_a_run_goes_on_once_its_slow_reader_leaves(gate: threading.Event) -> None:
    from tests.support.engines import Engine

    run = chain(Engine("local"), "a", "b", "c", tokens=100, gate=gate).start(
        {"items": []}, stream_mode=MODES, slow_reader="wait", retention=Retention(events=0)
    )
    reader = run.events()
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert run.result(timeout=60) == {"items": ["a", "b", "c"]}


def test_graphs_of_langgraph_and_entrypoints_are_started_too() -> None:
    from langgraph.graph import START, StateGraph

    from distgraph import distribute, entrypoint

    def node(state: Items) -> Any:
        return {"items": ["theirs"]}

    theirs = StateGraph(Items).add_node("n", node).add_edge(START, "n").compile()
    run = distribute(theirs, backend="local").start({"items": []}, stream_mode="updates")
    assert list(run.events()) == [(1, {"n": {"items": ["theirs"]}})]
    assert run.result(timeout=60) == {"items": ["theirs"]}

    @entrypoint(backend="local")
    def double(number: int) -> int:
        return 2 * number

    assert double.start(21).result(timeout=60) == 42
