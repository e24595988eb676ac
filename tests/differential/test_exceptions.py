"""A node that raises: what was streamed before, and what the caller catches."""

import asyncio

import pytest

from tests.support.cluster import eventually
from tests.support.graphs import Items, adds

MODES = ["values", "updates", "custom", "tasks", "debug"]


class OutOfPaper(Exception):
    """A class of the user's own, with arguments that its base knows nothing of."""

    def __init__(self, *, tray: int) -> None:
        super().__init__(f"tray {tray} is empty")
        self.tray = tray


def failing(ns, make, is_async=False):
    def boom(state, writer):
        writer({"node": "boom"})
        raise make()

    async def aboom(state, writer):
        writer({"node": "boom"})
        await asyncio.sleep(0)
        raise make()

    builder = ns.StateGraph(Items).add_node("a", adds("a", 1)).add_node("z", adds("z"))
    builder.add_node("boom", aboom if is_async else boom)
    return builder.add_edge(ns.START, "a").add_edge("a", "boom").add_edge("boom", "z")


ERRORS = {
    "ValueError": lambda: ValueError("boom"),
    "KeyError": lambda: KeyError("key"),
    "OSError": lambda: OSError(2, "no file"),
    "of the user": lambda: OutOfPaper(tray=1),
    "empty": lambda: AssertionError(),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_precedes_the_error(differ, what):
    make = ERRORS[what]
    outcome = differ.stream(lambda ns: failing(ns, make), {"items": []}, stream_mode=MODES)
    assert type(outcome.error) is type(make())


def test_an_async_node_raises(differ):
    outcome = differ.stream(
        lambda ns: failing(ns, ERRORS["ValueError"], is_async=True),
        {"items": []},
        stream_mode=MODES,
        reference_face="async",
    )
    assert type(outcome.error) is ValueError


def test_the_callers_own_class_is_caught_with_its_fields(engine):
    graph = engine.compile(failing(engine, lambda: OutOfPaper(tray=3)))
    with pytest.raises(OutOfPaper) as caught:
        graph.invoke({"items": []})
    assert type(caught.value) is OutOfPaper
    assert caught.value.tray == 3
    assert str(caught.value) == "tray 3 is empty"


@pytest.mark.skipif("sys.version_info < (3, 11)", reason="notes of exceptions are of Python 3.11")
def test_a_note_names_the_node(engine):
    graph = engine.compile(failing(engine, ERRORS["ValueError"]))
    with pytest.raises(ValueError) as caught:
        graph.invoke({"items": []})
    assert "'boom'" in "\n".join(caught.value.__notes__)


def test_the_cause_survives(engine):
    def node(state):
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    builder = engine.StateGraph(Items).add_node("n", node).add_edge(engine.START, "n")
    with pytest.raises(ValueError, match="outer") as caught:
        engine.compile(builder).invoke({"items": []})
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_finished_siblings_update_comes_before_the_error(engine, tmp_path):
    seen = tmp_path / "seen"

    def late(state):
        eventually(seen.exists, "the other update has arrived")
        raise ValueError("late")

    builder = engine.StateGraph(Items).add_node("late", late).add_node("early", adds("early"))
    builder.add_edge(engine.START, "late").add_edge(engine.START, "early")
    stream = engine.compile(builder).stream({"items": []}, stream_mode=["values", "updates"])
    assert next(stream) == ("values", {"items": []})
    assert next(stream) == ("updates", {"early": {"items": ["early"]}})
    seen.touch()
    with pytest.raises(ValueError, match="late"):
        next(stream)


def test_an_error_at_the_reducer_is_raised(engine):
    builder = engine.StateGraph(Items).add_node("n", lambda s: {"items": 3})
    with pytest.raises(TypeError):
        engine.compile(builder.add_edge(engine.START, "n")).invoke({"items": []})


def test_the_graph_works_again_after_an_error(engine):
    def node(state):
        if state["items"]:
            raise ValueError("not empty")
        return {"items": ["fine"]}

    builder = engine.StateGraph(Items).add_node("n", node).add_edge(engine.START, "n")
    graph = engine.compile(builder)
    with pytest.raises(ValueError, match="not empty"):
        graph.invoke({"items": ["x"]})
    assert graph.invoke({"items": []}) == {"items": ["fine"]}
