from __future__ import annotations

import collections.abc
import json
import operator
import pickle
from typing import Annotated, Any, Literal, Optional

import pytest
from typing_extensions import NotRequired, Required

from distgraph._internal.missing import MISSING
from distgraph.channels import BinaryOperatorAggregate
from distgraph.errors import InvalidUpdateError
from distgraph.types import Overwrite


def extend(left: list[int], right: list[int]) -> list[int]:
    left.extend(right)
    return left


@pytest.mark.parametrize(
    ("typ", "initial"),
    [
        (list, []),
        (list[int], []),
        (Annotated[list[int], operator.add], []),
        (Annotated[NotRequired[list[int]], operator.add], []),
        (Required[dict[str, int]], {}),
        (collections.abc.Sequence, []),
        (collections.abc.Sequence[int], []),
        (collections.abc.MutableSet, set()),
        (collections.abc.Mapping[str, int], {}),
        (int, 0),
        (str, ""),
        (Optional[int], MISSING),  # noqa: UP045
        (int | None, MISSING),
        (Literal["a"], MISSING),
        (Any, MISSING),
    ],
)
def test_a_type_that_can_be_made_empty_is_the_first_left_operand(typ: Any, initial: Any) -> None:
    assert BinaryOperatorAggregate(typ, operator.add).checkpoint() == initial


def test_writes_are_folded_in_order() -> None:
    channel = BinaryOperatorAggregate(list, operator.add)
    assert channel.update([[1], [2]]) is True
    assert channel.update([]) is False
    assert channel.update([[3]]) is True
    assert channel.get() == [1, 2, 3]


def test_without_an_initial_value_the_first_write_is_the_value() -> None:
    channel = BinaryOperatorAggregate(int | None, lambda a, b: a - b)
    channel.update([10, 1, 2])
    assert channel.get() == 7


def test_a_reducer_that_changes_its_operand_leaves_the_template_alone() -> None:
    template = BinaryOperatorAggregate(list, extend)
    for make in (template.copy, lambda: template.from_checkpoint(MISSING)):
        channel = make()
        channel.update([[1]])
        assert channel.get() == [1]
    assert template.get() == []


@pytest.mark.parametrize(
    "replace",
    [
        Overwrite(["new"]),
        {"__overwrite__": ["new"]},
        json.loads(json.dumps({"value": ["new"], "type": "__overwrite__"})),
    ],
)
def test_overwrite_replaces_the_value_and_drops_the_other_writes_after_it(replace: Any) -> None:
    channel = BinaryOperatorAggregate(list, operator.add)
    channel.update([["old"]])
    channel.update([["before"], replace, ["after"]])
    assert channel.get() == ["new"]


def test_langgraphs_overwrite_is_understood() -> None:
    theirs = pytest.importorskip("langgraph.types")
    channel = BinaryOperatorAggregate(list, operator.add)
    channel.update([["old"], theirs.Overwrite(["new"])])
    assert channel.get() == ["new"]


def test_overwrite_as_the_very_first_write_is_unwrapped() -> None:
    channel = BinaryOperatorAggregate(int | None, operator.add)
    channel.update([Overwrite(5)])
    assert channel.get() == 5


def test_two_overwrites_in_one_superstep_are_an_error_that_names_the_key() -> None:
    channel = BinaryOperatorAggregate(list, operator.add)
    channel.key = "items"
    with pytest.raises(InvalidUpdateError, match="'items': Can receive only one Overwrite") as e:
        channel.update([Overwrite([1]), Overwrite([2])])
    assert e.value.key == "items"


def test_a_dict_that_only_looks_similar_is_an_ordinary_write() -> None:
    channel = BinaryOperatorAggregate(dict, operator.or_)
    channel.update([{"__overwrite__": 1, "x": 2}])
    assert channel.get() == {"__overwrite__": 1, "x": 2}


def test_a_checkpoint_restores_the_value() -> None:
    channel = BinaryOperatorAggregate(list, operator.add)
    channel.key = "x"
    restored = channel.from_checkpoint([1])
    restored.update([[2]])
    assert (restored.get(), restored.key, channel.get()) == ([1, 2], "x", [])


def test_pickling_keeps_the_reducer_and_the_initial_value() -> None:
    channel = BinaryOperatorAggregate(list[int], operator.add)
    restored = pickle.loads(pickle.dumps(channel))
    restored = restored.from_checkpoint(MISSING)
    restored.update([[1]])
    assert restored.get() == [1]


def test_channels_of_one_reducer_are_equal_and_lambdas_always_are() -> None:
    assert BinaryOperatorAggregate(list, operator.add) == BinaryOperatorAggregate(int, operator.add)
    assert BinaryOperatorAggregate(list, operator.add) != BinaryOperatorAggregate(int, operator.or_)
    assert BinaryOperatorAggregate(list, lambda a, b: a) == BinaryOperatorAggregate(
        list, lambda a, b: a
    )
