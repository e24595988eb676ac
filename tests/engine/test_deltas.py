from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from langgraph.pregel import _checkpoint as theirs

from distgraph._internal.keys import NULL_TASK_ID
from distgraph._internal.missing import MISSING
from distgraph.channels import BinaryOperatorAggregate, DeltaChannel
from distgraph.channels.delta import DeltaSnapshot
from distgraph.contract.checkpoint import History
from distgraph.engine import deltas
from distgraph.engine.checkpoints import channels_from
from distgraph.types import Overwrite


def extended(state: list[Any], writes: list[list[Any]]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


def delta(value: Any = MISSING, **options: Any) -> DeltaChannel[Any]:
    return DeltaChannel(extended, list, **options).from_checkpoint(value)


PLAIN = BinaryOperatorAggregate(list)


def test_channels_with_a_version_and_no_value_are_replayed() -> None:
    channels = {"a": delta(), "b": delta(), "c": PLAIN, "d": delta()}
    checkpoint = {"channel_versions": {"a": 1, "b": 2, "c": 2}, "channel_values": {"b": ["b"]}}
    assert deltas.to_replay(deltas.replayable(channels), checkpoint) == ["a", "c"]


def replayed(template: Any, history: History) -> Any:
    return channels_from({"c": template}, {}, {"c": history})["c"]


def standing_at(versions: Any, seen: Any, triggers: Any) -> Any:
    """The part of a ``Superstep`` that a checkpoint is sealed by."""
    return SimpleNamespace(
        channels={"a": delta(["v"])},
        versions=versions,
        seen=seen,
        next_version=lambda version: (version or 0) + 1,
        spec=SimpleNamespace(trigger_to_nodes=triggers),
    )


def test_a_history_is_its_seed_and_the_writes_since() -> None:
    history = History(DeltaSnapshot(["s"]), (["a"], ["b"]))
    assert replayed(delta(), history).get() == ["s", "a", "b"]
    assert replayed(PLAIN, history).get() == ["s", "a", "b"]
    assert replayed(delta(), History(writes=(["a"],))).get() == ["a"]


def test_a_plain_reducer_takes_each_overwrite_of_a_history() -> None:
    history = History(writes=(["a"], Overwrite(["b"]), ["c"], Overwrite(["d"]), ["e"]))
    assert replayed(PLAIN, history).get() == ["d", "e"]


def test_counters_count_updates_and_all_supersteps() -> None:
    names = frozenset({"a", "b"})
    once = deltas.stepped(names, {}, {"a", "x"})
    assert once == {"a": (1, 1), "b": (0, 1)}
    assert deltas.stepped(names, {"a": [1, 1]}, {"b"}) == {"a": (1, 2), "b": (1, 1)}


def test_a_channel_is_due_by_its_updates_or_by_supersteps() -> None:
    channels = {n: delta([], snapshot_frequency=3) for n in "abcd"}
    counters = {"a": (3, 3), "b": (2, 9), "c": (0, deltas.MAX_SUPERSTEPS), "d": (9, 9)}
    versions = dict.fromkeys("abc", 1)
    assert deltas.due(channels, counters, versions) == {"a", "c"}


@pytest.mark.parametrize("seen", [{"n": {"a": 1}, "m": {"a": 0}}, {"__input__": {}}])
@pytest.mark.parametrize("versions", [{"a": 1, "b": 3}, {"b": 3}])
def test_raised_versions_are_noted_as_langgraph_notes_them(
    versions: dict[str, int], seen: dict[str, dict[str, int]]
) -> None:
    triggers = {"a": ["n", "q"]}
    sealed = standing_at(versions, seen, triggers)
    values = deltas.seal({"a"}, sealed, {"b": 1}, stored=versions)
    old = versions.get("a")
    new = (old or 0) + 1
    assert sealed.versions == {**versions, "a": new}
    assert values == {"b": 1, "a": DeltaSnapshot(["v"])}
    assert sealed.seen == theirs._mark_bumps_seen(seen, {"a": (old, new)}, triggers)
    unraised = deltas.seen_without_bumps(sealed.seen)
    assert unraised == theirs.versions_seen_without_bumps(sealed.seen)


def test_a_channel_that_was_written_keeps_its_version() -> None:
    sealed = standing_at({"a": 2}, {"n": {"a": 1}}, {})
    deltas.seal({"a"}, sealed, {}, stored={"a": 1})
    assert (sealed.versions, sealed.seen) == ({"a": 2}, {"n": {"a": 1}})


def test_ids_of_an_exit_sort_by_steps_and_are_langgraphs() -> None:
    task = str(UUID(int=7 << 100))
    for step in (0, 3, 70_000):
        assert deltas.early_id(step, task) == theirs.exit_delta_task_id(step, task)
        assert deltas.late_id(step, task) == theirs.exit_delta_late_task_id(step, task)
    assert deltas.early_id(0, NULL_TASK_ID) == theirs.exit_delta_task_id(0, NULL_TASK_ID)
    assert deltas.early_id(0, NULL_TASK_ID) != NULL_TASK_ID


def test_messages_get_ids_where_they_are_written_to_a_delta_channel() -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    message, kept = AIMessage("a"), HumanMessage("b", id="b")
    given = [message, kept, {"role": "user", "content": "c"}, 7]
    writes: list[tuple[str, Any]] = [("d", given), ("plain", [AIMessage("x")]), ("d", "text")]
    deltas.with_message_ids({"d": delta(), "plain": PLAIN}, writes)
    changed = writes[0][1]
    assert changed[0] is message
    assert message.id
    assert (changed[1].id, changed[3], writes[2]) == ("b", 7, ("d", "text"))
    assert (type(changed[2]), bool(changed[2].id)) == (HumanMessage, True)
    assert given[2] == {"role": "user", "content": "c"}
    assert writes[1][1][0].id is None
