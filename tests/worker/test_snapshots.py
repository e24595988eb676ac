"""A large value is unpickled once where attempts cannot change it, and else for each of them."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import Parcel
from distgraph.worker import snapshots
from distgraph.worker.snapshots import Snapshot

TEXTS = ["x" * 100 + str(number) for number in range(20)]


class Text(str):
    """A text with attributes, which code can change."""


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the pickles that are read from here on."""
    sizes: list[int] = []

    def loads(blob: Any) -> Any:
        sizes.append(0 if isinstance(blob, Parcel) else len(blob))
        return original(blob)

    original = snapshots.loads
    monkeypatch.setattr(snapshots, "loads", loads)
    return sizes


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5000,
        b"x" * 5000,
        TEXTS,
        tuple(TEXTS),
        set(TEXTS),
        frozenset(TEXTS),
        dict.fromkeys(TEXTS, 1),
        [*TEXTS, None, True, 1, 1.5, b"y"],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_changed_is_unpickled_once(value: Any, loaded: list[int]) -> None:
    blob = dumps_data(value)
    snapshot = Snapshot(blob)
    found = [snapshot.load() for _ in range(3)]
    assert found == [value] * 3
    assert {type(each) for each in found} == {type(value)}
    assert loaded == [len(blob)]
    assert snapshot.is_kept


def test_a_change_of_a_container_is_the_attempts_own() -> None:
    for value in (list(TEXTS), dict.fromkeys(TEXTS), set(TEXTS)):
        snapshot = Snapshot(dumps_data(value))
        for _ in range(2):
            found = snapshot.load()
            assert found == value
            found.clear()


@pytest.mark.parametrize(
    "value",
    [
        [*TEXTS, ["y"]],
        {"texts": TEXTS},
        (TEXTS,),
        [Text("x" * 5000)],
        Text("x" * 5000),
        bytearray(5000),
        [{"content": text} for text in TEXTS],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_changed_inside_is_unpickled_for_each(value: Any, loaded: list[int]) -> None:
    snapshot = Snapshot(dumps_data(value))
    first, second = snapshot.load(), snapshot.load()
    assert first == second == value
    assert len(loaded) == 2
    assert first is not second


def test_many_small_items_are_not_kept(loaded: list[int]) -> None:
    numbers = list(range(2_000))  # in memory, they take many times their pickle
    snapshot = Snapshot(dumps_data(numbers))
    assert [snapshot.load() for _ in range(2)] == [numbers] * 2
    assert len(loaded) == 2


def test_what_holds_references_is_not_kept(loaded: list[int]) -> None:
    snapshot = Snapshot(Parcel(dumps_data("x" * 5000), ()))
    assert [snapshot.load() for _ in range(2)] == ["x" * 5000] * 2
    assert len(loaded) == 2


@pytest.mark.parametrize(("behind", "copied"), [(100, False), (100_000, True)])
def test_most_of_a_frame_is_not_copied(behind: int, copied: bool) -> None:
    blob = dumps_data(["x" * 5000, ["y"]])
    frame = bytearray(blob + bytes(behind))
    snapshot = Snapshot(memoryview(frame)[: len(blob)])
    assert snapshot.load() == ["x" * 5000, ["y"]]
    assert isinstance(snapshot._blob, bytes) is copied
