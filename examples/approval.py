"""A workflow that waits for a person: it stops at a question and goes on when it is answered.

    python examples/approval.py            # writes a draft, and stops at the question
    python examples/approval.py yes        # answers it, in a process of its own
    python examples/approval.py --history  # what has been saved

The thread is kept in a SQLite file, ``approval.sqlite`` in this folder or where ``--file`` says.
"""

from __future__ import annotations

import argparse
import operator
import os
from typing import Annotated, Any

from langgraph.checkpoint.sqlite import SqliteSaver
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph
from distgraph.types import Command, interrupt


class Letter(TypedDict):
    topic: str
    draft: str
    log: Annotated[list[str], operator.add]


def write(state: Letter) -> dict[str, Any]:
    draft = f"Dear reader, this is about {state['topic']}."
    return {"draft": draft, "log": [f"written by process {os.getpid()}"]}


def approve(state: Letter) -> dict[str, Any]:
    answer = interrupt(f"Send this? {state['draft']}")
    return {"log": [f"answered {answer!r}, noted by process {os.getpid()}"]}


def send(state: Letter) -> dict[str, Any]:
    sent = state["log"][-1].startswith("answered 'yes'")
    return {"log": ["sent" if sent else "thrown away"]}


def build() -> StateGraph[Letter]:
    """Return the workflow."""
    builder = StateGraph(Letter)
    builder.add_node(write)
    builder.add_node(approve)
    builder.add_node(send)
    builder.add_edge(START, "write")
    builder.add_edge("write", "approve")
    builder.add_edge("approve", "send")
    return builder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("answer", nargs="?", help="what to answer to the open question")
    parser.add_argument("--topic", default="graphs on clusters")
    parser.add_argument("--thread", default="letter")
    parser.add_argument("--file", default="approval.sqlite")
    parser.add_argument("--history", action="store_true", help="show what has been saved")
    given = parser.parse_args()
    thread: Any = {"configurable": {"thread_id": given.thread}}
    with SqliteSaver.from_conn_string(given.file) as saver:
        graph = build().compile(checkpointer=saver)
        if given.history:
            for state in graph.get_state_history(thread):
                print(state.metadata["step"], state.next, state.values.get("log", []))
            return
        waiting = graph.get_state(thread).interrupts
        if given.answer is None and waiting:
            print(f"Still waiting: {waiting[0].value}")
            return
        letter = {"topic": given.topic, "draft": "", "log": []}
        value: Any = letter if given.answer is None else Command(resume=given.answer)
        for chunk in graph.stream(value, thread):
            for node, update in chunk.items():
                if node == "__interrupt__":
                    print(f"Waiting: {update[0].value}")
                else:
                    print(f"{node}: {update['log'][-1]}")


if __name__ == "__main__":
    main()
