"""A list that grows is pickled by its tail: in workers, in the driver, and for a saver."""

import operator
import os
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

pytestmark = pytest.mark.ray

FIRST = 200
"""Items of the list when the run starts."""

STEPS = 20


class Item:
    """Notes in a file each time that it is pickled, in whatever process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.id = os.urandom(8).hex()

    def __reduce__(self) -> Any:
        with open(self.path, "ab") as file:
            file.write(b".")
        return _again, (self.path, self.id)


def _again(path: str, id_: str) -> Item:
    made = Item(path)
    made.id = id_
    return made


def graph_of(on_ray: Any, reducer: Callable[..., Any], make: Callable[[str], Any], **options: Any):
    class State(TypedDict):
        items: Annotated[list[Any], reducer]
        path: str

    def grow(state: State) -> dict[str, Any]:
        return {"items": [make(state["path"])]}

    def more(state: State) -> str:
        return "grow" if len(state["items"]) < FIRST + STEPS else on_ray.END

    builder = on_ray.StateGraph(State).add_node("grow", grow).add_edge(on_ray.START, "grow")
    builder.add_conditional_edges("grow", more, ["grow", on_ray.END])
    return on_ray.compile(builder, **options)


def message(path: str) -> Any:
    from langchain_core.messages import AIMessage

    return AIMessage("x", response_metadata={"item": Item(path)})


@pytest.mark.parametrize(
    ("reducer", "make"), [(operator.add, Item), (add_messages, message)], ids=["add", "messages"]
)
def test_items_are_pickled_a_few_times_however_long_the_list_is(on_ray, reducer, make, tmp_path):
    path = tmp_path / "pickled"
    graph = graph_of(on_ray, reducer, make)
    given = {"items": [make(str(path)) for _ in range(FIRST)], "path": str(path)}
    result = graph.invoke(given, {"recursion_limit": STEPS + 5})
    assert len(result["items"]) == FIRST + STEPS
    print("times an item was pickled:", path.stat().st_size / (FIRST + STEPS))
    assert path.stat().st_size < 8 * (FIRST + STEPS)  # whole lists: STEPS times and more
