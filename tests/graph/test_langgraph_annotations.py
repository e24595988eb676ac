"""What LangGraph has in annotations and our graphs do not do is refused by name."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from typing_extensions import NotRequired, TypedDict

from distgraph.errors import UnsupportedError
from distgraph.graph import StateGraph

pytest.importorskip("langgraph")

from langgraph.channels import Topic
from langgraph.managed.base import ManagedValue


class Clock(ManagedValue[int]):
    @staticmethod
    def get(scratchpad: Any) -> int:
        return 7


def schema(annotation: Any) -> Any:
    return TypedDict("State", {"key": annotation})


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, Clock],
        NotRequired[Annotated[int, Clock]],
        Annotated[int, Clock, "note"],
        Annotated[int, Clock] | None,
    ],
    ids=["plain", "qualified", "not last", "optional"],
)
def test_a_managed_value_of_the_user_is_refused_by_its_key_and_class(annotation: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"State key 'key' of State .* Clock"):
        StateGraph(schema(annotation))


def test_a_channel_class_with_a_type_argument_is_refused() -> None:
    with pytest.raises(ValueError, match=r"State key 'key' of State .*Give a channel"):
        StateGraph(schema(Annotated[list, Topic[str]]))
