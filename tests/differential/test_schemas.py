"""Input and output schemas, private keys, and states that are dataclasses or pydantic models."""

import dataclasses
import operator
from typing import Annotated

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tests.support.differential import run

MODES = ["values", "updates", "tasks", "debug"]


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Private(TypedDict):
    draft: str


class Overall(Question, Answer):
    pass


def with_schemas(ns):
    def think(state: Question) -> Private:
        return {"draft": f"{sorted(state)}"}

    def write(state: Private):
        return {"answer": f"{sorted(state)} {state['draft']}"}

    def see_all(state: Overall):
        return {"answer": state["answer"] + f" {sorted(state)}"}

    return (
        ns.StateGraph(Overall, input_schema=Question, output_schema=Answer)
        .add_node("think", think)
        .add_node("write", write)
        .add_node("see_all", see_all)
        .add_edge(ns.START, "think")
        .add_edge("think", "write")
        .add_edge("write", "see_all")
    )


@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_input_output_and_private_schemas(differ, mode):
    differ.stream(with_schemas, {"question": "why?", "answer": "not an input"}, stream_mode=mode)


def test_invoke_returns_the_output_schema(engine):
    graph = engine.compile(with_schemas(engine))
    assert graph.invoke({"question": "why?"}) == {
        "answer": "['draft'] ['question'] ['answer', 'question']"
    }


def test_an_input_schema_given_to_add_node(differ):
    def build(ns):
        builder = ns.StateGraph(Overall)
        builder.add_node("n", lambda s: {"answer": str(sorted(s))}, input_schema=Question)
        return builder.add_edge(ns.START, "n")

    differ.stream(build, {"question": "q", "answer": "a"}, stream_mode=MODES)


@dataclasses.dataclass
class Card:
    name: str
    count: int = 0
    tags: Annotated[list[str], operator.add] = dataclasses.field(default_factory=list)
    note: str | None = None


class Form(BaseModel):
    name: str
    count: int = 0
    tags: Annotated[list[str], operator.add] = Field(default_factory=list)
    note: str | None = None


NOTE = {Card: {"note": None}, Form: {}}


def typed(ns, schema):
    def first(state: schema):
        return {"count": state.count + 1, "tags": [type(state).__name__]}

    def second(state: schema):
        return schema(name=state.name + "!", count=state.count, tags=[str(state.note)])

    builder = ns.StateGraph(schema).add_node("first", first).add_node("second", second)
    return builder.add_edge(ns.START, "first").add_edge("first", "second")


@pytest.mark.parametrize("schema", [Card, Form], ids=["dataclass", "pydantic"])
@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_a_state_that_is_an_object(differ, schema, mode):
    differ.stream(lambda ns: typed(ns, schema), {"name": "ada"}, stream_mode=mode)


@pytest.mark.parametrize("schema", [Card, Form], ids=["dataclass", "pydantic"])
def test_an_object_as_input(differ, schema):
    differ.stream(
        lambda ns: typed(ns, schema),
        schema(name="ada", tags=["in"]),
        stream_mode=["values", "updates"],
    )


@pytest.mark.parametrize("schema", [Card, Form], ids=["dataclass", "pydantic"])
def test_invoke_returns_a_dict(differ, schema):
    result = differ.invoke(lambda ns: typed(ns, schema), {"name": "ada"})
    assert result == {"name": "ada!", "count": 1, "tags": [schema.__name__, "None"], **NOTE[schema]}


def test_pydantic_coerces_what_a_node_receives(differ):
    def build(ns):
        def first(state: Form):
            return {"name": f"{state.count!r}"}

        return ns.StateGraph(Form).add_node("first", first).add_edge(ns.START, "first")

    outcome = differ.stream(build, {"name": "ada", "count": "3"}, stream_mode=["values", "updates"])
    assert outcome.chunks[1] == ("updates", {"first": {"name": "3"}})


def test_input_that_pydantic_refuses(differ):
    outcome = differ.stream(lambda ns: typed(ns, Form), {"name": "ada", "count": "many"})
    assert type(outcome.error).__name__ == "ValidationError"


def bad_update(ns):
    def bad(state: Form):
        return {"count": "many"}

    def good(state: Form):
        return {"name": "unreached"}

    builder = ns.StateGraph(Form).add_node("bad", bad).add_node("good", good)
    return builder.add_edge(ns.START, "bad").add_edge("bad", "good")


def test_an_update_is_checked_when_the_next_node_starts(differ):
    differ.invoke(bad_update, {"name": "ada"})


def test_an_update_that_the_next_node_refuses_is_streamed_before_the_error(ours):
    # the reference loses it where a step has a single task
    outcome = run(ours.compile(bad_update(ours)), {"name": "ada"}, stream_mode="updates")
    assert outcome.chunks == [{"bad": {"count": "many"}}]
    assert type(outcome.error).__name__ == "ValidationError"


def larger(a, b):
    return max(a, b)


class Kept(TypedDict, total=False):
    best: Annotated[int, larger]
    seen: Annotated[set, operator.or_]
    last: str


def test_any_function_of_two_arguments_is_a_reducer(differ):
    def build(ns):
        builder = ns.StateGraph(Kept)
        builder.add_node("a", lambda s: {"best": 5, "seen": {"a"}})
        builder.add_node("b", lambda s: {"best": 3, "seen": {"b"}, "last": "b"})
        return builder.add_edge(ns.START, "a").add_edge(ns.START, "b")

    differ.stream(build, {"best": 4}, stream_mode="values")
