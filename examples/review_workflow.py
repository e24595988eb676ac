"""A workflow as plain code: parallel tasks, then a question to you, then the rest.

    python examples/review_workflow.py                 # some modules of Python's library
    python examples/review_workflow.py FOLDER          # the Python files of a folder

Every file is measured by a task of its own. The workflow then asks how many files to name: it has
stopped, and holds nothing. The answer goes on from there, and nothing is measured again.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from distgraph.func import entrypoint, task
from distgraph.types import Command, interrupt
from whoran import WhoRan, tell

BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.BoolOp, ast.IfExp, ast.comprehension)
MODULES = ("heapq", "json/decoder", "random", "statistics", "textwrap", "zipfile")
DEFAULT = 3
THREAD = {"configurable": {"thread_id": "review"}}


class Measured(TypedDict):
    """What a task found out about one file."""

    name: str
    lines: int
    branches: int


@task
def measure(name: str, text: str) -> Measured:
    """Count the lines of a file, and the places where its code may go either way."""
    tell("measure", name)
    nodes = list(ast.walk(ast.parse(text)))
    branches = sum(isinstance(node, BRANCHES) for node in nodes)
    return Measured(name=name, lines=text.count("\n"), branches=branches)


@task
def report(files: list[Measured], count: int) -> list[str]:
    """Name the files that branch most."""
    tell("report", f"{count} files")
    ranked = sorted(files, key=lambda file: (-file["branches"], file["name"]))
    return [f"{f['name']}: {f['branches']} branches, {f['lines']} lines" for f in ranked[:count]]


@entrypoint(checkpointer=InMemorySaver())
def review(sources: dict[str, str]) -> list[str]:
    """Measure all files side by side, ask, and report."""
    calls = [measure(name, text) for name, text in sources.items()]
    files = [call.result() for call in calls]
    count = interrupt(f"{len(files)} files measured. How many shall be named?")
    return report(files, int(count)).result()


def sources(arguments: list[str]) -> dict[str, str]:
    """Read the files here: the texts travel with the tasks, so workers need not see them."""
    if arguments:
        folder = Path(arguments[0])
        paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
    else:
        library = Path(sysconfig.get_path("stdlib"))
        paths = {name: library / f"{name}.py" for name in MODULES}
    return {name: path.read_text("utf-8", errors="replace") for name, path in paths.items()}


def show(value: Any, who: WhoRan) -> Any:
    """Run the workflow on its thread, print what happens, and return what it ended with."""
    last = None
    for mode, chunk in review.stream(value, THREAD, stream_mode=["custom", "updates"]):
        if mode == "custom":
            who.add(chunk)
            print(f"{chunk['what']} {chunk['about']} in process {chunk['pid']}")
        else:
            last = chunk
    return last


def main() -> None:
    """Measure, ask whoever is at the terminal, and go on with the answer."""
    who = WhoRan()
    asked = show(sources(sys.argv[1:]), who)
    (question,) = asked["__interrupt__"]
    print(f"\nquestion: {question.value}")
    answer = input(f"answer [{DEFAULT}]: ") if sys.stdin.isatty() else ""
    done = show(Command(resume=answer or DEFAULT), who)
    print("\n" + "\n".join(done["review"]))
    who.show()


if __name__ == "__main__":
    main()
