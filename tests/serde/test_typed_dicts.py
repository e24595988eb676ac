"""TypedDicts of a script, and those that are derived from them, on a worker."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.serde.pickling import dumps_code, loads
from tests.support.elsewhere import Elsewhere, main_program

SOURCE = """
from typing import Annotated, Generic, TypedDict, TypeVar
import typing_extensions

T = TypeVar("T")

class Question(TypedDict):
    question: str

class Answer(TypedDict, total=False):
    answer: Annotated[str, "said"]

class Derived(Question):
    number: int

class Both(Question, Answer):
    number: int

class Twice(Both, total=False):
    more: str

class Of(TypedDict, Generic[T]):
    value: T

class OfInt(Of[int]):
    number: int

class OfAny(Of):
    number: int

class Extended(typing_extensions.TypedDict):
    number: int

class DerivedExtended(Extended):
    more: typing_extensions.NotRequired[str]
"""
NAMES = (
    "Answer",
    "Derived",
    "Both",
    "Twice",
    "Of",
    "OfInt",
    "OfAny",
    "Extended",
    "DerivedExtended",
)


def described(blob: bytes) -> Any:
    cls = loads(blob)
    return (
        sorted((key, str(value)) for key, value in cls.__annotations__.items()),
        sorted(cls.__required_keys__),
        sorted(cls.__optional_keys__),
        cls.__total__,
        cls(a=1) == {"a": 1},
        str(getattr(cls, "__parameters__", ())),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_typed_dict_of_a_script_is_the_same_on_a_worker(name: str, elsewhere: Elsewhere) -> None:
    cls = main_program(SOURCE)[name]
    blob = dumps_code(cls)
    assert elsewhere(described, blob) == described(blob)
