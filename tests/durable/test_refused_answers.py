"""Answers that do not fit the schema of their question."""

import operator
from typing import Annotated, TypedDict

import pytest
from pydantic import BaseModel

from distgraph.errors import is_invalid_resume
from tests.support.states import compare_story, tell


class Log(TypedDict):
    log: Annotated[list, operator.add]


class Decision(BaseModel):
    approved: bool


def two_questions(engine):
    def node(question):
        def ask(state):
            decision = engine.interrupt(question, response_schema=Decision)
            return {"log": [f"{question} {decision.approved}"]}

        return ask

    builder = engine.StateGraph(Log)
    for question in ("send", "check"):
        builder.add_node(question, node(question))
        builder.add_edge(engine.START, question)
    return builder


def inside(engine):
    builder = engine.StateGraph(Log)
    builder.add_node("graph", two_questions(engine).compile())
    builder.add_edge(engine.START, "graph")
    return builder


def half_refused(t):
    """Answer one question well and one badly, then that one again."""

    def ids():
        return {question.value: question.id for question in t.state().interrupts}

    resume = t.engine.Command
    t.invoke({"log": []})
    asked = ids()
    answers = {asked["send"]: {"approved": True}, asked["check"]: {"approved": "perhaps"}}
    t.invoke(resume(resume=answers))
    asked = ids()
    t.invoke(resume(resume={asked["check"]: {"approved": False}}))


def test_the_others_that_were_answered_finish_and_keep_their_results(here):
    told = compare_story(here, two_questions, half_refused, fails=True)
    assert is_invalid_resume(told.log[2][1])
    assert told.log[-1][1] == {"log": ["check False", "send True"]}


@pytest.mark.parametrize("face", ["sync", "async"])
def test_those_inside_of_a_graph_do_so_too(here, face):
    # in LangGraph the order of a graph's questions is that of time
    told = tell(here.contender, inside, half_refused, face)
    assert is_invalid_resume(told.log[2][1])
    assert told.log[-1][1] == {"log": ["check False", "send True"]}
