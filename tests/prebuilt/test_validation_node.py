"""``ValidationNode`` answers as LangGraph's does."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import Tool
from pydantic import BaseModel, field_validator

from distgraph.prebuilt import ValidationNode
from tests.prebuilt import tools as t
from tests.prebuilt.support import LANGGRAPH, OURS, asks, prebuilt, same_stream
from tests.support.normalise import Normaliser

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Select(BaseModel):
    """Select a number."""

    a: int

    @field_validator("a")
    def meaningful(cls, value):
        if value != 37:
            raise ValueError("only 37 is allowed")
        return value


CALLS = asks(("Select", {"a": 37}), ("Select", {"a": 1}), ("add", {"a": 1, "b": 2}), ("plain", {}))


@pytest.mark.parametrize("input", [[CALLS], {"messages": [CALLS]}], ids=["list", "state"])
def test_calls_are_answered_with_their_arguments_or_what_is_wrong(input):
    got = [
        Normaliser()(prebuilt(ns).ValidationNode([Select, t.add, t.plain]).invoke(input))
        for ns in (OURS, LANGGRAPH)
    ]
    assert got[0] == got[1]


def test_as_a_node(differ):
    def build(ns):
        builder = ns.StateGraph(ns.MessagesState)
        builder.add_node("validation", prebuilt(ns).ValidationNode([Select]))
        return builder.add_edge(ns.START, "validation")

    same_stream(differ, build, {"messages": [asks(("Select", {"a": 1}))]})


def test_another_text_of_errors():
    node = ValidationNode([Select], format_error=lambda error, call, schema: schema.__name__)
    (answer,) = node([asks(("Select", {"a": 1}))])
    assert (answer.content, answer.additional_kwargs) == ("Select", {"is_error": True})


def test_what_cannot_be_validated_is_refused():
    with pytest.raises(ValueError, match="no pydantic args_schema"):
        ValidationNode([Tool("bare", str, "No schema.")])
    with pytest.raises(ValueError, match="Unsupported input"):
        ValidationNode([5])


@pytest.mark.parametrize(
    ("input", "told"),
    [({"messages": []}, "No message found"), ([HumanMessage("hi")], "not an AIMessage")],
)
def test_an_input_without_a_models_message_is_an_error(input, told):
    with pytest.raises(ValueError, match=told):
        ValidationNode([Select])(input)
    assert ValidationNode([Select])([AIMessage("hi")]) == []
