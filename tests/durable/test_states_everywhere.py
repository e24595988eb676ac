"""State methods on threads whose nodes run elsewhere, on Ray among others."""

import operator
from typing import Annotated, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver

from tests.support.states import compare_story


class Log(TypedDict):
    log: Annotated[list, operator.add]


def errand(engine):
    """Sends, a graph with a question, and a conditional edge."""

    def ask(state):
        return {"log": [engine.interrupt("ok?")]}

    def route(state):
        return engine.END if "no" in state["log"] else "done"

    inner = engine.StateGraph(Log)
    inner.add_node("ask", ask)
    inner.add_edge(engine.START, "ask")
    builder = engine.StateGraph(Log)
    builder.add_node("plan", lambda state: {"log": ["plan"]})
    builder.add_node("work", lambda state: {"log": [f"work {state['n']}"]})
    builder.add_node("inner", inner.compile())
    builder.add_node("done", lambda state: {"log": ["done"]})
    builder.add_edge(engine.START, "plan")
    builder.add_conditional_edges(
        "plan", lambda s: [engine.Send("work", {"n": n}) for n in (1, 2)], ["work"]
    )
    builder.add_edge("work", "inner")
    builder.add_conditional_edges("inner", route, ["done", engine.END])
    return builder


def story(t):
    resume = t.engine.Command
    t.invoke({"log": ["in"]})
    t.state(subgraphs=True)
    t.update({"log": ["mine"]}, t.state().tasks[0].state)
    t.invoke(resume(resume="yes"))
    past = next(state for state in t.history() if state.next == ("work", "work"))
    t.invoke(None, past.config)
    t.invoke(resume(resume="no"))
    fork = t.update({"log": ["no"]}, past.config, as_node="inner")
    t.invoke(None, fork)
    t.history()


def test_a_thread_is_read_written_and_forked(differ):
    compare_story(differ, errand, story)


def test_a_thread_in_a_file_is_read_written_and_forked(differ, tmp_path):
    numbers = iter(range(9))

    def saver():
        return SqliteSaver.from_conn_string(str(tmp_path / f"{next(numbers)}.sqlite"))

    compare_story(differ, errand, story, faces=("sync",), saver=saver)
