"""Workflows with a checkpointer: what is kept, what is asked, and what runs again."""

import asyncio

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.func import entrypoint, task
from distgraph.types import Command
from tests.func.support import flow, returned
from tests.support.differential import assert_same, run
from tests.support.engines import Engine
from tests.support.normalise import normalise

CONFIG = {"configurable": {"thread_id": "1"}}
MODES = ["values", "updates", "custom", "tasks", "checkpoints"]


@flow
def asking(func, ns, **options):
    """A finished task, a question in a task, a question in the entrypoint."""
    interrupt = ns.interrupt

    @func.task
    def before(value, writer):
        writer("before")
        return value + 1

    @func.task
    def ask(what):
        return interrupt(what)

    @func.entrypoint(**options)
    def workflow(number):
        first = returned(before(number))
        second = returned(ask("one?"))
        third = interrupt("two?")
        return [first, second, third]

    return workflow


@flow
def twice(func, ns, **options):
    """Two questions in one task, beside a task that does not ask."""
    interrupt = ns.interrupt

    @func.task
    def ask(what):
        return interrupt(f"{what} 1?") + interrupt(f"{what} 2?")

    @func.task
    def other(value):
        return value

    @func.entrypoint(**options)
    def workflow(number):
        calls = [ask("a"), other(number)]
        return [returned(call) for call in calls]

    return workflow


@flow
def several(func, ns, **options):
    """Questions of tasks side by side, answered by id."""
    interrupt = ns.interrupt

    @func.task
    async def ask(what):
        return interrupt(what)

    @func.entrypoint(**options)
    async def workflow(names):
        calls = [ask(name) for name in names]
        found = []
        for call in calls:
            found.append(await call)
        return found

    return workflow


@flow
def remembering(func, ns, **options):
    @func.entrypoint(**options)
    def workflow(number, *, previous=None):
        total = number + (previous or 0)
        return func.entrypoint.final(value=previous, save=total)

    return workflow


def runs(engine, build, inputs, face="sync", saver=None, durability=None, modes=MODES):
    """Return the chunks of the runs of one thread, and its states between them."""
    graph = engine.compile(build(engine), checkpointer=saver or InMemorySaver())
    options = {} if durability is None else {"durability": durability}
    found = []
    for value in inputs:
        given = value(engine, graph) if callable(value) else value
        outcome = run(graph, given, face, config=CONFIG, stream_mode=modes, **options)
        if outcome.error is not None:
            raise outcome.error
        found.append(outcome.chunks)
        state = graph.get_state(CONFIG)
        found.append([state.values, state.next, state.metadata, state.interrupts])
    return found


def answer(value):
    return lambda ns, graph: ns.Command(resume=value)


THREADS = {
    "asking": (asking, [3, answer("A"), answer("B"), 4]),
    "twice": (twice, [3, answer("A"), answer("B")]),
    "remembering": (remembering, [1, 2, 3]),
}


@pytest.mark.parametrize("durability", [None, "sync", "exit"])
@pytest.mark.parametrize("what", THREADS)
def test_a_thread_goes_on_as_in_langgraph(differ, what, durability):
    build, inputs = THREADS[what]
    modes = ["updates", "custom"] if what == "twice" else MODES
    expected, got = (
        runs(engine, build, inputs, durability=durability, modes=modes)
        for engine in (differ.reference, differ.contender)
    )
    if what == "twice":  # side by side: the order is free
        expected, got = ([sorted(map(repr, n)) for n in map(normalise, f)] for f in (expected, got))
        assert got == expected
    else:
        assert_same("runs", [normalise(part) for part in got], [normalise(p) for p in expected])


def test_questions_side_by_side_are_answered_by_id(ours):
    graph = ours.compile(several(ours), checkpointer=InMemorySaver())
    asked = []
    value = ["a", "b", "c"]
    for _ in range(3):
        result = asyncio.run(graph.ainvoke(value, CONFIG))
        asked += result["__interrupt__"]
        value = Command(resume={asked[-1].id: "yes"})
    assert [question.value for question in asked] == ["a", "b", "c"]
    assert asyncio.run(graph.ainvoke(value, CONFIG)) == ["yes", "yes", "yes"]


@pytest.mark.parametrize("order", ["to distgraph", "to langgraph"])
@pytest.mark.parametrize("what", ["asking", "twice"])
def test_a_thread_is_continued_by_the_other_engine(ours, what, order):
    build, inputs = THREADS[what]
    engines = [Engine("langgraph"), ours][:: 1 if order == "to distgraph" else -1]
    saver = InMemorySaver()
    found = []
    for value, engine in zip(inputs[:3], [*engines, engines[0]], strict=True):
        graph = engine.compile(build(engine), checkpointer=saver)
        given = value(engine, graph) if callable(value) else value
        found.append(list(graph.stream(given, CONFIG, stream_mode=["updates", "custom"])))
    again = [chunk for chunks in found[1:] for chunk in chunks]
    assert ("custom", "before") not in again
    assert not any("before" in chunk or "other" in chunk for _, chunk in again)
    expected = {"asking": [4, "A", "B"], "twice": ["AB", 3]}[what]
    assert found[-1][-1] == ("updates", {"workflow": expected})


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_finished_calls_are_not_run_again_after_a_failure(ours, durability, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    @task
    def good(value):
        with open(tmp_path / f"good-{value}", "a") as file:
            file.write("x")
        return value

    @task
    def bad():
        if broken.exists():
            raise KeyError("broken")
        return "repaired"

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(count):
        calls = [good(value) for value in range(count)]
        return [*(returned(call) for call in calls), returned(bad())]

    with pytest.raises(KeyError, match="broken"):
        workflow.invoke(3, CONFIG, durability=durability)
    state = workflow.get_state(CONFIG)
    assert state.next == ("workflow",) and state.tasks[0].error == "KeyError('broken')"
    broken.unlink()
    assert workflow.invoke(None, CONFIG) == [0, 1, 2, "repaired"]
    assert [(tmp_path / f"good-{value}").read_text() for value in range(3)] == ["x"] * 3


def test_previous_is_what_was_saved(ours):
    graph = ours.compile(remembering(ours), checkpointer=InMemorySaver())
    assert [graph.invoke(number, CONFIG) for number in (1, 2, 3)] == [None, 1, 3]
    assert graph.invoke(5, {"configurable": {"thread_id": "2"}}) is None


def test_a_task_gets_previous_as_its_caller_does(ours):
    @task
    def tell(*, previous):
        return previous

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(number):
        return [number, returned(tell())]

    assert [workflow.invoke(n, CONFIG) for n in (1, 2)] == [[1, None], [2, [1, None]]]


def test_a_question_that_nobody_waits_for_stops_the_thread(differ):
    @flow
    def careless(func, ns, **options):
        interrupt = ns.interrupt

        @func.task
        def ask():
            return interrupt("really?")

        @func.entrypoint(**options)
        def workflow(number):
            ask()
            return number

        return workflow

    expected, got = (
        runs(engine, careless, [3], modes=["updates", "values"])
        for engine in (differ.reference, differ.contender)
    )
    assert_same("runs", [normalise(part) for part in got], [normalise(p) for p in expected])


def test_history_and_time_travel(ours):
    graph = ours.compile(asking(ours), checkpointer=InMemorySaver())
    graph.invoke(3, CONFIG)
    graph.invoke(Command(resume="A"), CONFIG)
    assert graph.invoke(Command(resume="B"), CONFIG) == [4, "A", "B"]
    states = list(graph.get_state_history(CONFIG))
    assert [state.metadata["step"] for state in states] == [0, -1]
    assert graph.invoke(None, states[1].config)["__interrupt__"][0].value == "one?"


@flow
def asking_at_times(func, ns, **options):
    interrupt = ns.interrupt

    @func.entrypoint(**options)
    def workflow(asks):
        if asks:
            interrupt("?")
        return {"kept": 1}

    return workflow


def test_an_interrupted_run_returns_what_the_thread_returned_before(engine):
    graph = engine.compile(asking_at_times(engine), checkpointer=InMemorySaver())
    assert graph.invoke(False, CONFIG) == {"kept": 1}
    again = graph.invoke(True, CONFIG)
    assert (again["kept"], [i.value for i in again["__interrupt__"]]) == (1, ["?"])
