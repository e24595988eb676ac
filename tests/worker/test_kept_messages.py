"""Messages that a worker keeps: given again while nothing has changed them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from distgraph.serde.pickling import dumps_data, loads
from distgraph.worker.kept_messages import KeptMessages, Loan


def messages() -> list[BaseMessage]:
    call = {"name": "look", "args": {"where": ["here", {"deep": 1}]}, "id": "c"}
    return [
        HumanMessage([{"type": "text", "text": "Hello"}], id="1"),
        AIMessage("", id="2", tool_calls=[call], usage_metadata=None),
        ToolMessage("found", id="3", tool_call_id="c", artifact=(1, b"two")),
    ]


BLOB = dumps_data(messages())


def given(kept: KeptMessages, blob: bytes = BLOB) -> list[Any]:
    """Return what an attempt is given, which ends."""
    loan = Loan(kept)
    items = loan.items(blob)
    loan.end()
    return items


def same(one: list[Any], other: list[Any]) -> bool:
    return all(a is b for a, b in zip(one, other, strict=True))


def test_the_next_attempt_is_given_the_same_messages() -> None:
    kept = KeptMessages()
    first = given(kept)
    assert first == messages()
    assert same(given(kept), first)
    assert same(given(kept), first)


def change_content(first: list[Any]) -> None:
    first[0].content[0]["text"] = "Bye"


def change_argument(first: list[Any]) -> None:
    first[1].tool_calls[0]["args"]["where"][1]["deep"] = 2


def set_attribute(first: list[Any]) -> None:
    first[2].status = "error"


def set_attribute_to_its_value(first: list[Any]) -> None:
    first[1].usage_metadata = first[1].usage_metadata
    first[1].name = first[1].name


def add_attribute(first: list[Any]) -> None:
    first[0].seen = True


def add_key(first: list[Any]) -> None:
    first[0].additional_kwargs["seen"] = object()


def change_list(first: list[Any]) -> None:
    first.append(HumanMessage("more", id="4"))


class Unequal:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


def add_what_cannot_be_compared(first: list[Any]) -> None:
    first[0].additional_kwargs = Unequal()


@pytest.mark.parametrize(
    "change",
    [
        change_content,
        change_argument,
        set_attribute,
        set_attribute_to_its_value,
        add_attribute,
        add_key,
        change_list,
        add_what_cannot_be_compared,
    ],
)
def test_no_attempt_sees_what_another_has_changed(change: Any) -> None:
    kept = KeptMessages()
    change(given(kept))
    fresh = given(kept)
    assert fresh == messages()
    assert [m.model_fields_set for m in fresh] == [m.model_fields_set for m in loads(BLOB)]
    assert same(given(kept), fresh)


def test_two_attempts_at_once_have_messages_of_their_own() -> None:
    kept = KeptMessages()
    given(kept)
    one, two = Loan(kept), Loan(kept)
    first, second = one.items(BLOB), two.items(BLOB)
    assert not any(a is b for a, b in zip(first, second, strict=True))
    assert first == second
    one.end()
    two.end()
    assert same(given(kept), second)


def test_what_was_not_given_back_is_not_given_again() -> None:
    kept = KeptMessages()
    left_behind = Loan(kept).items(BLOB)
    assert not any(a is b for a, b in zip(given(kept), left_behind, strict=True))


@pytest.mark.parametrize(
    "items",
    [
        ["text", {"role": "user"}],
        [HumanMessage("a", id="1"), {"role": "user"}],
        [ToolMessage("a", tool_call_id="c", artifact={1, 2})],
        [HumanMessage("a", id="1", additional_kwargs={("a", "key"): 1})],
    ],
)
def test_what_may_change_unseen_is_unpickled_for_each_attempt(items: list[Any]) -> None:
    kept, blob = KeptMessages(), dumps_data(items)
    first, second = given(kept, blob), given(kept, blob)
    assert first == second == items
    assert first is not second


def test_messages_that_were_not_used_for_longest_are_dropped() -> None:
    blobs = [dumps_data([HumanMessage("x" * 100, id=str(number))]) for number in range(3)]
    kept = KeptMessages(limit=2 * len(blobs[0]))
    first = [given(kept, blob)[0] for blob in blobs]
    assert [
        given(kept, blob)[0] is m for blob, m in zip(blobs[::-1], first[::-1], strict=True)
    ] == [
        True,
        True,
        False,
    ]
