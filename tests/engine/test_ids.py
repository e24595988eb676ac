"""Ids of tasks: derived from where a task stands in its run, by LangGraph's formula."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph._internal.ids import derived_checkpoint_ids, interrupt_id, path_key, task_id

from . import corpus
from .corpus import CASES, fan, map_reduce, nested
from .play import Play, options

OTHER = "0f5f1f1e-0000-4000-8000-000000000002"


def ids(make: Any, **more: Any) -> list[tuple[str, str]]:
    play = Play(make().compile(backend="local"), options(**more))
    play.start({"items": []})
    play.finish()
    return [(start.request.node, start.request.task_id) for start in play.started]


@pytest.mark.parametrize("make", [fan, map_reduce, nested])
def test_the_same_run_names_its_tasks_the_same(make: Any) -> None:
    assert ids(make) == ids(make)


@pytest.mark.parametrize("make", [fan, map_reduce, nested])
def test_another_run_names_all_of_them_otherwise(make: Any) -> None:
    assert {i for _, i in ids(make)}.isdisjoint(i for _, i in ids(make, run_id=OTHER))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_task_of_a_run_has_an_id_of_its_own(case: Any) -> None:
    play = Play(case.graph())
    play.start(case.given)
    play.finish()
    every = [s.request.task_id for s in play.started if s.request.kind == "node"]
    assert len(set(every)) == len(every)
    assert all(str(uuid.UUID(one)) == one for one in every)


def test_a_task_id_is_the_hash_of_checkpoint_namespace_step_name_and_triggers() -> None:
    play = Play(fan().compile(backend="local"))
    play.start({"items": []})
    checkpoint = derived_checkpoint_ids(play.run.shared.run_id)("", 0)
    triggers = ("branch:to:a",)
    assert play.of("a").request.step == 1
    assert play.of("a").request.task_id == task_id(
        checkpoint, "a", "1", "a", "__pregel_pull", *triggers
    )
    assert play.of("a").request.metadata["langgraph_triggers"] == triggers


# --- as in LangGraph ------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.uuids(), st.lists(st.text(), max_size=6))
def test_the_hash_is_the_reference_s(checkpoint: uuid.UUID, parts: list[str]) -> None:
    pytest.importorskip("xxhash")
    algo = pytest.importorskip("langgraph.pregel._algo")
    assert task_id(str(checkpoint), *parts) == algo._xxhash_str(checkpoint.bytes, *parts)


@settings(deadline=None)
@given(st.text(), st.integers(0, 3))
def test_the_id_of_an_interrupt_is_the_reference_s(ns: str, answered: int) -> None:
    pytest.importorskip("xxhash")
    types = pytest.importorskip("langgraph.types")
    assert interrupt_id(ns, answered) == types._interrupt_id(ns, answered)


PATHS = st.recursive(
    st.one_of(st.text(max_size=4), st.integers(0, 10**9), st.booleans()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@settings(deadline=None)
@given(PATHS)
def test_paths_sort_as_the_reference_s(path: Any) -> None:
    algo = pytest.importorskip("langgraph.pregel._algo")
    assert path_key(path) == algo.task_path_str(path)


@pytest.mark.parametrize("name", ["fan", "join", "deferred", "cycle", "map_reduce", "branches"])
def test_a_run_over_the_reference_s_checkpoints_has_its_task_ids(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xxhash")
    reference = pytest.importorskip("langgraph.graph")
    types = pytest.importorskip("langgraph.types")
    memory = pytest.importorskip("langgraph.checkpoint.memory")

    (case,) = (c for c in CASES if c.name == name)
    with monkeypatch.context() as patched:
        patched.setattr(corpus, "StateGraph", reference.StateGraph)
        patched.setattr(corpus, "Send", types.Send)
        theirs = case.make().compile(checkpointer=memory.InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        chunks = list(theirs.stream(case.given, config, stream_mode="tasks"))
    expected = {c["id"]: (c["name"], tuple(c["triggers"])) for c in chunks if "triggers" in c}
    assert expected
    checkpoints = {
        state.metadata["step"]: state.config["configurable"]["checkpoint_id"]
        for state in theirs.get_state_history(config)
    }

    # Before a checkpoint is saved it has an id too, which no task is named by.
    fresh = str(uuid.uuid4())
    play = Play(case.graph(), new_checkpoint_id=lambda ns, step: checkpoints.get(step, fresh))
    play.start(case.given)
    play.finish()
    ours = {
        e.payload["id"]: (e.payload["name"], tuple(e.payload["triggers"]))
        for e in play.emitted("tasks")
        if e.debug_type == "task"
    }
    assert ours == expected
