"""A supervisor that hands a question over to other agents, each a graph of its own.

    python examples/supervisor.py
    python examples/supervisor.py "Where is the line that defines dumps in module json?"

A tool of the supervisor returns a ``Command`` that goes to another agent in the parent graph. With
``subgraphs=True`` each chunk comes with the namespace of the agent in which it arose.

The model is the one that OPENAI_API_KEY or OPENAI_BASE_URL (and OPENAI_MODEL) name; without one it
is a stand-in that goes by "frequent … module NAME" and "defines NAME in module NAME".
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.tools import BaseTool, tool

from distgraph.graph import START, MessagesState, StateGraph
from distgraph.prebuilt import InjectedState, InjectedToolCallId, create_react_agent
from distgraph.types import Command
from offline_agent import OfflineAgentModel, Rule, choose_model
from whoran import WhoRan, tell

QUESTION = (
    "Where is the line that defines heappush in module heapq? "
    "And which words are the most frequent ones of module bisect?"
)

RULES = (
    Rule(r"defines \w+ in module", "ask_librarian", quoted=False),
    Rule(r"defines (?P<name>\w+) in module (?P<module>\w+)", "find_definition"),
    Rule(r"frequent [^?]*module", "ask_statistician", quoted=False),
    Rule(r"frequent [^?]*module (?P<module>\w+)", "frequent_words"),
)


def source(module: str) -> str:
    """Return the source code of a module of Python's standard library."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        raise ValueError(f"there is no source code of {module!r}")
    return Path(spec.origin).read_text(encoding="utf-8")


@tool
def find_definition(name: str, module: str) -> str:
    """Find the line of a module of Python's standard library that defines a name."""
    tell("find_definition", name)
    for number, line in enumerate(source(module).splitlines(), 1):
        if re.match(rf"\s*(async def|def|class) {re.escape(name)}\b", line):
            return f"line {number} of {module}: {line.strip()}"
    return f"no line of {module} defines {name}"


@tool
def frequent_words(module: str) -> str:
    """Return the most frequent words of a module of Python's standard library."""
    tell("frequent_words", module)
    counted = Counter(re.findall(r"[a-z]{4,}", source(module).lower())).most_common(3)
    return ", ".join(f"{word} {count}" for word, count in counted)


def handoff(agent: str, what_for: str) -> BaseTool:
    """Return a tool that hands the conversation over to another agent."""

    @tool(f"ask_{agent}", description=f"Hand over to the {agent}, who {what_for}.")
    def ask(
        state: Annotated[dict[str, Any], InjectedState],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> Command[Any]:
        tell(f"ask_{agent}", tool_call_id)
        done = ToolMessage(
            f"Handed over to {agent}.", name=f"ask_{agent}", tool_call_id=tool_call_id
        )
        messages = [*state["messages"], done]
        return Command(goto=agent, update={"messages": messages}, graph=Command.PARENT)

    return ask


def build_graph(model: BaseChatModel) -> Any:
    """Build the graph of three agents."""
    handoffs = [
        handoff("librarian", "finds definitions"),
        handoff("statistician", "counts words"),
    ]
    supervisor = create_react_agent(
        # the conversation can only be handed over to one agent at a time
        model.bind_tools(handoffs, parallel_tool_calls=False),
        handoffs,
        prompt="Hand over to an agent. When all is answered, sum up the answers.",
        name="supervisor",
    )
    librarian = create_react_agent(model, [find_definition], name="librarian")
    statistician = create_react_agent(model, [frequent_words], name="statistician")
    return (
        StateGraph(MessagesState)
        .add_node("supervisor", supervisor, destinations=("librarian", "statistician"))
        .add_node("librarian", librarian)
        .add_node("statistician", statistician)
        .add_edge(START, "supervisor")
        .add_edge("librarian", "supervisor")
        .add_edge("statistician", "supervisor")
        .compile(name="team")
    )


def label(namespace: tuple[str, ...]) -> str:
    """Return a namespace shortened for people: which agent, in which of its runs."""
    return "/".join(part[: part.index(":") + 5] for part in namespace) or "team"


def lines(node: str, update: dict[str, Any]) -> Iterator[str]:
    """Yield what an update of an agent's node says."""
    for message in update["messages"]:
        if isinstance(message, AIMessage) and message.tool_calls:
            calls = ", ".join(f"{call['name']}({call['args']})" for call in message.tool_calls)
            yield f"{node} calls {calls}"
        elif isinstance(message, ToolMessage):
            yield f"{node}: {message.content}"


def main() -> None:
    """Ask, and print what happens in which agent, with the answers word by word."""
    question = " ".join(sys.argv[1:]) or QUESTION
    model, described = choose_model(OfflineAgentModel(rules=RULES))
    print(f"model: {described}\nquestion: {question}")
    who, speaker = WhoRan(), ""
    for namespace, mode, chunk in build_graph(model).stream(
        {"messages": [("user", question)]},
        stream_mode=["custom", "messages", "updates"],
        subgraphs=True,
    ):
        name = label(namespace)
        if mode == "messages" and isinstance(chunk[0], AIMessageChunk) and chunk[0].content:
            print("" if speaker else f"[{name}] ", chunk[0].content, sep="", end="", flush=True)
            speaker = name
            continue
        if mode != "messages" and speaker:
            print()
            speaker = ""
        if mode == "custom":
            who.add(chunk)
            print(f"[{name}] {chunk['what']} in process {chunk['pid']}")
        elif mode == "updates" and namespace:
            for node, update in chunk.items():
                for line in lines(node, update):
                    print(f"[{name}] {line}")
        elif mode == "updates":
            print(f"[{name}] {', '.join(chunk)} is done")
    who.show()


if __name__ == "__main__":
    main()
