"""The table of the plain pickler: ordinary classes of modules are looked up once."""

from __future__ import annotations

import pickle
from typing import Any

from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.reducers import dispatch_table


class Ordinary:
    def __init__(self, value: int) -> None:
        self.value = value


class Told:
    def __reduce__(self) -> Any:
        return Told, ()


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    pass


def test_an_ordinary_class_of_a_module_is_kept_and_its_objects_pickle_as_ever() -> None:
    found = loads(dumps_data([Ordinary(1), Ordinary(2)]))
    assert [one.value for one in found] == [1, 2]
    assert Ordinary in dict.keys(dispatch_table())
    assert dumps_data(Ordinary(1)) == pickle.dumps(Ordinary(1), 5)


def test_what_a_class_says_about_its_pickling_holds() -> None:
    for _ in range(2):
        assert type(loads(dumps_data(Told()))) is Told


def test_a_class_that_has_a_metaclass_travels_by_name() -> None:
    for _ in range(2):
        assert loads(dumps_data(OfMeta)) is OfMeta
    assert type(loads(dumps_data(OfMeta()))) is OfMeta


def test_a_class_of_a_function_is_not_kept() -> None:
    class Local:
        pass

    dumps_data(Local())
    assert Local not in dict.keys(dispatch_table())
