"""Pydantic classes that a function defines: they travel without what stands beside them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("pydantic")

from pydantic import BaseModel

from distgraph.serde.pickling import dumps_code, dumps_data, loads
from tests.support.elsewhere import Elsewhere


def classes() -> tuple[type[Any], type[Any]]:
    lock = threading.Thread()
    locks = [lock]

    class Inner(BaseModel):
        value: int = 1

    class Outer(BaseModel):
        inner: Inner
        again: list[Outer] = []

    assert locks
    return Inner, Outer


@pytest.mark.parametrize("dump", [dumps_code, dumps_data])
def test_a_class_defined_beside_a_lock_travels(dump: Any, elsewhere: Elsewhere) -> None:
    Inner, Outer = classes()
    value = Outer(inner=Inner(value=2))
    assert loads(dump(value)) == value

    def use(cls: Any) -> Any:
        return cls(inner={"value": 3}, again=[{"inner": {}}]).model_dump()

    assert elsewhere(use, Outer) == {
        "inner": {"value": 3},
        "again": [{"inner": {"value": 1}, "again": []}],
    }


def test_the_class_itself_is_left_as_it_was() -> None:
    _, outer = classes()
    before = outer.__pydantic_parent_namespace__
    dumps_code(outer)
    assert outer.__pydantic_parent_namespace__ is before
