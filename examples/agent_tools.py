"""An agent whose tools compute: the calls of one message run in parallel, on several workers.

    python examples/agent_tools.py
    python examples/agent_tools.py "How many primes are below 1000? Statistics of module json."

The model is the one that OPENAI_API_KEY or OPENAI_BASE_URL (and OPENAI_MODEL) name; without one it
is a stand-in that looks for "below N" and "module NAME" in the question.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections import Counter
from pathlib import Path

from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool

from distgraph.prebuilt import create_react_agent, placed
from offline_agent import OfflineAgentModel, Rule, choose_model
from whoran import WhoRan, tell

QUESTION = (
    "How many primes are below 300000, below 310000, below 320000 and below 330000? "
    "Which words are the most frequent ones of module argparse and module tarfile?"
)


@tool
def count_primes(limit: int) -> str:
    """Count the primes below a limit, by trial division."""
    found, marks = 0, {limit * percent // 100: percent for percent in (25, 50, 75)}
    for number in range(2, limit):
        if number in marks:
            tell("count_primes", limit, percent=marks[number])
        found += all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
    tell("count_primes", limit, percent=100)
    return f"{found} primes"


@tool
def word_statistics(module: str) -> str:
    """Count the words of the source code of a module of Python's standard library."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        raise ValueError(f"there is no source code of {module!r}")
    tell("word_statistics", module, percent=0)
    words = re.findall(r"[a-z]{4,}", Path(spec.origin).read_text(encoding="utf-8").lower())
    tell("word_statistics", module, percent=100)
    frequent = ", ".join(f"{word} {count}" for word, count in Counter(words).most_common(3))
    return f"{len(words)} words of 4 letters or more; the most frequent: {frequent}"


RULES = (
    Rule(r"below (?P<limit>\d+)", "count_primes"),
    Rule(r"module (?P<module>\w+)", "word_statistics"),
)


def main() -> None:
    """Ask, and print calls, progress, results and the answer as they arrive."""
    question = " ".join(sys.argv[1:]) or QUESTION
    model, described = choose_model(OfflineAgentModel(rules=RULES))
    # a call that takes longer is ended, and the model is told so; see `placed` for more
    tools = [placed(count_primes, timeout=120), placed(word_statistics, timeout=120)]
    agent = create_react_agent(model, tools)
    print(f"model: {described}\nquestion: {question}")
    who = WhoRan()
    for mode, chunk in agent.stream(
        {"messages": [("user", question)]}, stream_mode=["custom", "messages", "updates"]
    ):
        if mode == "custom":
            who.add(chunk)
            print(f"{chunk['what']}({chunk['about']}): {chunk['percent']} % in {chunk['pid']}")
        elif mode == "messages":
            message, _ = chunk
            if isinstance(message, AIMessageChunk):
                for part in message.tool_call_chunks:
                    print(f"\ncall {part['name']} " if part["name"] else part["args"], end="")
                print(message.content, end="", flush=True)
        elif "tools" in chunk:
            for message in chunk["tools"]["messages"]:
                print(f"result of {message.name}: {message.content}")
        else:
            print()
    who.show()


if __name__ == "__main__":
    main()
