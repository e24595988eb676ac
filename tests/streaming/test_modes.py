from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from distgraph.contract.stream import Event, StreamEvent
from distgraph.streaming.modes import SKIP, StreamOptions
from distgraph.types import STREAM_MODES

ROOT = Event((), "updates", {"node": {"x": 1}})
CHILD = Event(("child:id",), "updates", {"node": {"x": 1}})


@pytest.mark.parametrize(
    ("stream_mode", "subgraphs", "chunk"),
    [
        ("updates", False, {"node": {"x": 1}}),
        (["updates"], False, ("updates", {"node": {"x": 1}})),
        (("updates",), False, ("updates", {"node": {"x": 1}})),
        ("updates", True, ((), {"node": {"x": 1}})),
        (["updates", "values"], True, ((), "updates", {"node": {"x": 1}})),
    ],
)
def test_v1_chunks_are_as_bare_as_they_were_asked_for(
    stream_mode: Any, subgraphs: bool, chunk: Any
) -> None:
    assert StreamOptions.parse(stream_mode, subgraphs=subgraphs).project(ROOT) == chunk


@pytest.mark.parametrize("stream_mode", ["updates", ["updates"]])
@pytest.mark.parametrize("subgraphs", [False, True])
def test_v2_chunks_are_dicts_whatever_else_is_asked(stream_mode: Any, subgraphs: bool) -> None:
    options = StreamOptions.parse(stream_mode, subgraphs=subgraphs, version="v2")
    assert options.project(ROOT) == {"type": "updates", "ns": (), "data": {"node": {"x": 1}}}


def test_events_of_subgraphs_are_chunks_only_where_asked_for() -> None:
    assert StreamOptions.parse("updates").project(CHILD) is SKIP
    chunk = StreamOptions.parse("updates", subgraphs=True).project(CHILD)
    assert chunk == (("child:id",), {"node": {"x": 1}})


def test_a_graph_that_runs_inside_a_node_is_the_root_of_its_own_stream() -> None:
    options = StreamOptions.parse("updates")
    assert options.project(CHILD, root=("child:id",)) == {"node": {"x": 1}}
    assert options.project(ROOT, root=("child:id",)) is SKIP


def test_no_mode_means_the_graphs_default() -> None:
    assert StreamOptions.parse(None, default="values").yielded == {"values"}
    assert StreamOptions.parse(None, default=["values", "custom"]).tagged


def test_an_unknown_mode_is_an_error_that_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown stream_mode 'value': .*values, updates") as error:
        StreamOptions.parse(["updates", "value"])
    assert all(mode in str(error.value) for mode in STREAM_MODES)
    with pytest.raises(ValueError, match="unknown print_mode 'all'"):
        StreamOptions.parse("updates", print_mode="all")
    with pytest.raises(ValueError, match="stream_mode is a mode or a list of modes, got int"):
        StreamOptions.parse(3)  # type: ignore[arg-type]


def test_an_unknown_version_is_an_error() -> None:
    with pytest.raises(ValueError, match='must be "v1" or "v2", got \'v3\''):
        StreamOptions.parse("updates", version="v3")


def test_the_request_asks_for_what_is_yielded_and_what_is_printed() -> None:
    options = StreamOptions.parse(["custom"], print_mode="tasks", subgraphs=True)
    assert options.request.modes == {"custom", "tasks"}
    assert options.request.subgraphs


def test_print_mode_prints_what_it_does_not_yield() -> None:
    options = StreamOptions.parse("custom", print_mode=["updates"])
    with redirect_stdout(io.StringIO()) as out:
        assert options.project(ROOT) is SKIP
        assert options.project(Event((), "custom", 1)) == 1
    assert out.getvalue() == "\033[1m[updates]\033[0m {'node': {'x': 1}}\n"


def test_debug_prints_updates_and_values_instead_of_print_mode() -> None:
    options = StreamOptions.parse("custom", print_mode="tasks", debug=True)
    assert options.print_modes == ("updates", "values")


def test_v2_values_lift_interrupts_out_of_the_state() -> None:
    payload = {"x": 1, "__interrupt__": ("question",)}
    options = StreamOptions.parse("values", version="v2")
    chunk = options.project(Event((), "values", payload))
    assert chunk == {"type": "values", "ns": (), "data": {"x": 1}, "interrupts": ("question",)}
    assert payload == {"x": 1, "__interrupt__": ("question",)}
    bare = options.project(Event((), "values", 5))
    assert bare == {"type": "values", "ns": (), "data": 5, "interrupts": ()}


@dataclass
class State:
    x: int


def as_state(values: dict[str, Any]) -> State:
    return State(**values)


def test_v2_values_of_the_root_are_of_its_output_schema() -> None:
    options = StreamOptions.parse(
        "values", version="v2", subgraphs=True, output_mapper=as_state, state_mapper=as_state
    )
    assert options.project(Event((), "values", {"x": 1}))["data"] == State(1)
    assert options.project(Event(("c:1",), "values", {"y": 1}))["data"] == {"y": 1}


def test_v1_values_stay_dicts() -> None:
    options = StreamOptions.parse("values", output_mapper=as_state)
    assert options.project(Event((), "values", {"x": 1})) == {"x": 1}


def test_v2_checkpoints_are_of_the_state_schema_once_the_input_is_applied() -> None:
    options = StreamOptions.parse(["checkpoints", "debug"], version="v2", state_mapper=as_state)
    before = {"values": {}, "next": ["__start__"]}
    after = {"values": {"x": 1}, "next": ["n"]}
    assert options.project(Event((), "checkpoints", before))["data"] == before
    assert options.project(Event((), "checkpoints", after))["data"]["values"] == State(1)
    wrapped = {"type": "checkpoint", "step": 1, "payload": after}
    assert options.project(Event((), "debug", wrapped))["data"]["payload"]["values"] == State(1)
    task = {"type": "task", "payload": {"values": {"x": 1}}}
    assert options.project(Event((), "debug", task))["data"] == task
    assert after == {"values": {"x": 1}, "next": ["n"]}


def _reference() -> Any:
    """A LangGraph graph that emits every kind of chunk, a subgraph's included."""
    graph = pytest.importorskip("langgraph.graph")

    class Values(TypedDict):
        x: Annotated[list[int], lambda a, b: a + b]

    def node(state: Values) -> dict[str, Any]:
        return {"x": [1]}

    child = graph.StateGraph(Values).add_node("inner", node).set_entry_point("inner").compile()
    parent = graph.StateGraph(Values).add_node("outer", node).add_node("child", child)
    return parent.set_entry_point("outer").add_edge("outer", "child").compile()


def _events(graph: Any) -> Iterator[Event]:
    """Yield its events as a publisher would have emitted them."""
    for ns, mode, payload in graph.stream(
        {"x": []}, stream_mode=["values", "updates"], subgraphs=True
    ):
        yield Event(("child:id",) if ns else (), mode, payload)


@pytest.mark.parametrize("stream_mode", ["values", "updates", ["updates"], ["values", "updates"]])
@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("print_mode", [(), "updates", ["values"]])
def test_chunks_and_printed_lines_are_langgraphs(
    stream_mode: Any, subgraphs: bool, version: Any, print_mode: Any
) -> None:
    graph = _reference()
    with redirect_stdout(io.StringIO()) as expected_out:
        expected = list(
            graph.stream(
                {"x": []},
                stream_mode=stream_mode,
                subgraphs=subgraphs,
                version=version,
                print_mode=print_mode,
            )
        )
    options = StreamOptions.parse(
        stream_mode, subgraphs=subgraphs, version=version, print_mode=print_mode
    )
    with redirect_stdout(io.StringIO()) as out:
        chunks = [options.project(event) for event in _events(graph)]
    chunks = [chunk for chunk in chunks if chunk is not SKIP]
    assert _without_ids(chunks) == _without_ids(expected)
    assert _without_ids(out.getvalue()) == _without_ids(expected_out.getvalue())


def _without_ids(shown: Any) -> str:
    import re

    return re.sub(r"child:[-\w]+", "child:id", str(shown))


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("printed", [(), ("custom",)])
def test_what_is_bare_is_what_project_returns_unchanged(
    tagged: bool, subgraphs: bool, version: str, printed: tuple[str, ...], capsys: Any
) -> None:
    """For each mode: it is bare if and only if the chunk is the payload, and nothing is printed."""
    for mode in STREAM_MODES:
        options = StreamOptions.parse(
            [mode] if tagged else mode, subgraphs=subgraphs, version=version, print_mode=printed
        )
        assert options.bare == (
            {mode} - {"tasks", "debug"} - set(printed)
            if (tagged, subgraphs, version) == (False, False, "v1")
            else set()
        )
        for bare in options.bare:
            payload = (object(), {})
            event = StreamEvent("run", 1, (), 1, "t", 1, 1, bare, payload)
            assert options.project(event) is payload
    capsys.readouterr()
    assert StreamOptions.parse("messages", message_events=True).bare == set()
