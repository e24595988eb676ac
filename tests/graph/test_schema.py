from __future__ import annotations

import operator
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typing_extensions
from pydantic import BaseModel

from distgraph._internal.schema_objects import annotated_keys, object_updates
from distgraph.channels import (
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    Topic,
    UntrackedValue,
)
from distgraph.graph import START, StateGraph
from distgraph.graph.schema import mapper_of, read_schema
from distgraph.managed import IsLastStep, RemainingSteps


def typed(fields: dict[str, Any]) -> Any:
    return typing_extensions.TypedDict("State", fields)  # type: ignore[operator]


def keep(left: Any, right: Any) -> Any:
    return left


class Base(typing.TypedDict):
    items: Annotated[list, operator.add]


class Total(Base, total=False):
    name: typing_extensions.Required[str]
    note: typing_extensions.NotRequired[Annotated[int, operator.add]]
    left: RemainingSteps
    last: typing_extensions.NotRequired[IsLastStep]
    jump: Annotated[str, EphemeralValue]
    live: Annotated[object, UntrackedValue(object, guard=False)]
    topic: Annotated[list, Topic(str, accumulate=True)]


class Model(BaseModel):
    items: Annotated[list, operator.add] = []
    name: str | None = None
    kind: str | None = "a"


@dataclass
class Data:
    items: Annotated[list, operator.add] = field(default_factory=list)
    name: str | None = None


def test_every_key_of_a_typed_dict_becomes_its_channel() -> None:
    schema = read_schema(Total)
    assert {k: type(c) for k, c in schema.channels.items()} == {
        "items": BinaryOperatorAggregate,
        "name": LastValue,
        "note": BinaryOperatorAggregate,
        "jump": EphemeralValue,
        "live": UntrackedValue,
        "topic": Topic,
    }
    assert schema.managed == {"left": "remaining_steps", "last": "is_last_step"}
    assert all(channel.key == key for key, channel in schema.channels.items())
    assert schema.channels["note"].get() == 0
    assert schema.channels["live"].guard is False
    assert schema.channels["topic"].accumulate is True


def test_langgraphs_managed_values_are_understood() -> None:
    theirs = pytest.importorskip("langgraph.managed.is_last_step")
    State = typed({"left": theirs.RemainingSteps, "last": theirs.IsLastStep})
    assert read_schema(State).managed == {"left": "remaining_steps", "last": "is_last_step"}


@pytest.mark.parametrize("schema", [Model, Data])
def test_pydantic_models_and_dataclasses_are_schemas(schema: Any) -> None:
    read = read_schema(schema)
    assert type(read.channels["items"]) is BinaryOperatorAggregate
    assert type(read.channels["name"]) is LastValue
    mapper = mapper_of(schema, read.keys)
    assert mapper is not None
    assert mapper({"items": [1]}) == schema(items=[1])


def test_a_bare_annotated_type_is_one_root_channel() -> None:
    read = read_schema(Annotated[list, operator.add])
    assert read.is_root
    assert type(read.channels["__root__"]) is BinaryOperatorAggregate
    assert mapper_of(Annotated[list, operator.add], read.keys) is None


def test_a_channel_object_in_an_annotation_is_not_shared_between_graphs() -> None:
    first, second = read_schema(Total), read_schema(Total)
    first.channels["topic"].update(["x"])
    assert not second.channels["topic"].is_available()


def one(a: Any) -> Any: ...
def keyword_only(a: Any, *, b: Any) -> Any: ...
def three(a: Any, b: Any, c: Any) -> Any: ...


@pytest.mark.parametrize("reducer", [one, keyword_only, three, lambda: None])
def test_a_reducer_of_other_than_two_arguments_is_refused_naming_the_key(reducer: Any) -> None:
    State = typed({"total": Annotated[int, reducer]})
    with pytest.raises(ValueError, match="reducer signature for key 'total' of State") as caught:
        StateGraph(State)
    assert "Expected (a, b) -> c" in str(caught.value)


def optional_third(a: Any, b: Any, c: int = 0) -> Any: ...
def variadic(*values: Any) -> Any: ...


@pytest.mark.parametrize(
    "reducer", [keep, optional_third, variadic, operator.add, max, dict.__or__]
)
def test_whatever_can_be_called_with_two_values_is_a_reducer(reducer: Any) -> None:
    State = typed({"total": Annotated[int, reducer]})
    assert type(StateGraph(State).channels["total"]) is BinaryOperatorAggregate


def test_schemas_that_disagree_on_a_key_are_refused_naming_it() -> None:
    class A(typing_extensions.TypedDict):
        items: Annotated[list, operator.add]

    class B(typing_extensions.TypedDict):
        items: Annotated[list, keep]

    with pytest.raises(ValueError, match="Channel 'items' already exists with a different type"):
        StateGraph(A, input_schema=B)
    builder = StateGraph(A)
    with pytest.raises(ValueError, match=r"B declares BinaryOperatorAggregate\(keep\)"):
        builder.add_node("n", lambda state: {}, input_schema=B)


def test_another_schema_may_leave_the_reducer_out() -> None:
    class Plain(typing_extensions.TypedDict):
        items: list

    builder = StateGraph(Base, input_schema=Plain)
    assert type(builder.channels["items"]) is BinaryOperatorAggregate


def test_managed_values_are_refused_in_input_and_output_schemas() -> None:
    class In(typing_extensions.TypedDict):
        left: RemainingSteps

    with pytest.raises(ValueError, match="Invalid managed channels detected in In: left"):
        StateGraph(Base, input_schema=In)


def test_annotations_that_cannot_be_evaluated_name_the_schema() -> None:
    class Hidden: ...

    class State(typing_extensions.TypedDict):
        value: Hidden

    with pytest.raises(NameError, match="annotations of schema State cannot be evaluated.*Hidden"):
        StateGraph(State)


def test_something_that_is_no_schema_draws_a_warning() -> None:
    with pytest.warns(UserWarning, match="Invalid state_schema: 5"):
        StateGraph(5)  # type: ignore[arg-type]


def test_of_a_pydantic_object_only_meant_fields_are_updates() -> None:
    assert object_updates(Model(items=[1])) == [("items", [1]), ("kind", "a")]
    assert object_updates(Model(name=None)) == [("items", []), ("name", None), ("kind", "a")]
    assert object_updates(Model(kind=None)) == [("items", []), ("kind", None)]
    assert object_updates(Model(items=[1]), ("kind", "other")) == [("kind", "a")]


def test_all_fields_of_a_dataclass_object_are_updates() -> None:
    assert object_updates(Data()) == [("items", []), ("name", None)]


@pytest.mark.parametrize("value", ["text", 5, [1], object()])
def test_other_objects_are_no_updates(value: Any) -> None:
    assert object_updates(value) is None


@pytest.mark.parametrize(
    "value", [Model(), Model(name=None), Model(items=[1], kind=None), Data(), Data(name="x")]
)
def test_updates_of_objects_are_langgraphs(value: Any) -> None:
    fields = pytest.importorskip("langgraph._internal._fields")
    keys = annotated_keys(type(value))
    assert keys == fields.get_cached_annotated_keys(type(value))
    assert object_updates(value) == fields.get_update_as_tuples(value, keys)


def test_a_graph_builds_from_every_kind_of_schema() -> None:
    for schema in (Total, Model, Data, Annotated[list, operator.add]):
        builder = StateGraph(schema).add_node("a", lambda state: None).add_edge(START, "a")
        assert list(builder.compile().spec.nodes) == ["__start__", "a"]
