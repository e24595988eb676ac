"""Frozen dataclasses that are made quickly are what the generated ones are."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from distgraph._internal.records import given_fields, pickled_by_fields


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    number: int = 3
    items: list[int] = field(default_factory=list)


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    number: int = 3
    items: list[int] = field(default_factory=list)


def test_fields_are_those_of_the_generated_class() -> None:
    for args, kwargs in ((("a",), {}), (("a", 4), {"items": [1]}), ((), {"name": "a"})):
        plain, quick = Plain(*args, **kwargs), Quick(*args, **kwargs)  # type: ignore[arg-type]
        assert type(quick) is Quick
        assert [getattr(quick, f.name) for f in fields(quick)] == [
            getattr(plain, f.name) for f in fields(plain)
        ]
        assert repr(quick) == repr(plain).replace("Plain", "Quick")


def test_each_object_has_a_default_of_its_own() -> None:
    assert Quick("a").items is not Quick("a").items


def test_objects_are_frozen_equal_by_their_fields_and_can_be_replaced_and_pickled() -> None:
    quick = Quick("a", 4, [1])
    with pytest.raises(FrozenInstanceError):
        quick.number = 5  # type: ignore[misc]
    assert quick == Quick("a", 4, [1]) != Quick("a", 5, [1])
    assert replace(quick, number=5) == Quick("a", 5, [1])
    assert pickle.loads(pickle.dumps(quick)) == copy.copy(quick) == copy.deepcopy(quick) == quick


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        Quick("a", other=1)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Rare:
    name: str
    number: int = 0
    text: str = ""
    value: object = None


def test_last_fields_are_left_out_where_all_have_their_defaults() -> None:
    given = given_fields(Rare)
    assert given(Rare("a")) == ("a",)
    assert given(Rare("a", 1)) == ("a", 1, "", None)
    usual = given_fields(Rare, usual="number")
    assert usual(Rare("a")) == ("a", 0)
    assert usual(Rare("a", 1)) == ("a", 1)
    assert usual(Rare("a", text="b")) == ("a", 0, "b", None)
    assert given_fields(Quick)(Quick("a")) == ("a", 3, [])
