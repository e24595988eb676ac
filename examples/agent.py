"""An agent studies a folder of documents with tools that compute, and streams a report.

    python examples/agent.py                              # the standard library of this Python
    python examples/agent.py --folder ~/notes "What are these notes about?"
    python examples/agent.py --compare                    # LangGraph first, on the same agent

The model calls many tools in one message; each call is a task on a worker of its own. The model is
the one that OPENAI_API_KEY or OPENAI_BASE_URL (and OPENAI_MODEL) name; without one it is a stand-in
that calls a tool for each document of the question and quotes the results.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import distgraph

if TYPE_CHECKING:
    from distgraph.views import Progress

STARTED = time.perf_counter()
SUFFIXES = {".py", ".pyi", ".md", ".rst", ".txt"}
SKIPPED = {"site-packages", "test", "tests", "pydoc_data", "__pycache__", ".git", ".venv"}
MAX_BYTES = 1_000_000
PROMPT = (
    "You study documents by tools. Call all tools that you need in one message: they run in "
    "parallel. Then write a short report from their results alone."
)
TOPICS = ("timeout and retry", "compression of archives", "parsing of dates")


def read_folder(
    folder: Path, most: int, *, glob: str | None = None, suffixes: Set[str] = SUFFIXES
) -> dict[str, str]:
    """Return the text of the largest matching files by their path within the folder."""
    found = [
        path
        for path in (folder.glob(glob) if glob else all_files(folder))
        if path.suffix in suffixes
        and not SKIPPED.intersection(path.relative_to(folder).parts)
        and path.is_file()
        and 0 < path.stat().st_size <= MAX_BYTES
    ]
    found.sort(key=lambda path: (-path.stat().st_size, path))
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in found[:most]
    }


def all_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; the folders in ``SKIPPED`` may hold thousands more."""
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        yield from (Path(top, name) for name in names)


def question_about(documents: Sequence[str]) -> str:
    """Return the default question: statistics of all, a few searches, the outline of some.

    The long calls come first, so that none of them is left for the end.
    """
    topics = ", ".join(f"“{topic}”" for topic in TOPICS)
    return (
        f"What are the statistics of {', '.join(documents)}? Where do the documents tell of "
        f"{topics}? What do {' and '.join(documents[:3])} define?"
    )


def build_agent(documents: dict[str, str]) -> tuple[Any, str]:
    """Return the agent, as LangChain builds it for LangGraph, and what its model is."""
    from langchain.agents import create_agent

    from document_tools import Library
    from offline_agent import OfflineAgentModel, Rule, choose_model

    name = "|".join(map(re.escape, documents))
    stand_in = OfflineAgentModel(
        rules=(
            Rule(r"“(?P<query>[^”]+)”", "search"),
            Rule(rf"(?:do|and) (?P<document>{name})(?= and| define)", "outline"),
            Rule(rf"(?:of|,) (?P<document>{name})(?=[,?])", "statistics"),
        )
    )
    model, described = choose_model(stand_in)
    tools = Library(documents).tools()
    return create_agent(model, tools, system_prompt=PROMPT, name="agent"), described


def run_by_langgraph(agent: Any, asked: dict[str, Any]) -> tuple[float, str]:
    """Run the agent by LangGraph, in this process; return the seconds and the report."""
    from langchain_core.messages import AIMessageChunk

    begin, report = time.perf_counter(), ""
    for message, _ in agent.stream(asked, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            print(message.text, end="", flush=True)
            report += message.text
    print(flush=True)
    return time.perf_counter() - begin, report


def run_by_distgraph(
    agent: Any, asked: dict[str, Any], backend: Literal["ray", "local"] | None
) -> tuple[float, float, Progress[Any]]:
    """Run the same agent on workers, and show the run.

    Returns:
        The seconds of the run, those from the start of the program to the first event, the run.
    """
    begin, first = time.perf_counter(), 0.0
    graph = distgraph.distribute(agent, backend=backend)
    stream = graph.stream(asked, stream_mode="messages")
    with closing(distgraph.progress(stream, text=True)) as run:
        for _ in run:  # the view shows the tokens
            first = first or time.perf_counter() - STARTED
    return time.perf_counter() - begin, first, run


def show_gain(run: Progress[Any]) -> None:
    """Print what the tools gained by running in parallel, if they computed for long enough."""
    calls = [a for a in run.attempts if a.part and a.started_at and a.ended_at]
    if not calls:
        return
    begin = min(a.started_at or 0.0 for a in calls)
    wall = max(a.ended_at or 0.0 for a in calls) - begin
    cpu, cores = sum(a.cpu for a in calls), os.cpu_count() or 1
    if cpu < 1:  # then it is mostly the start of workers
        return
    print(
        f"{len(calls)} tool calls computed {cpu:.1f} s in {wall:.1f} s: {cpu / wall:.1f} times as "
        f"fast as one after another ({cpu / wall / cores:.0%} of {cores} cores here)."
    )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="The model comes from OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL.",
    )
    parser.add_argument("question", nargs="?", help="default: one about all documents")
    parser.add_argument("--folder", type=Path, help="default: this Python's standard library")
    parser.add_argument("--glob", help="which files (default: text; of the library, *.py)")
    parser.add_argument("--max-files", type=int, default=20, help="the largest N files (20)")
    parser.add_argument("--compare", action="store_true", help="also run it by LangGraph, before")
    parser.add_argument("--backend", choices=("ray", "local"), help="where nodes run")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="write .svg, .html or .json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    try:
        return study(arguments(argv))
    except KeyboardInterrupt:
        print("\nInterrupted: the run was cancelled.", file=sys.stderr)
        return 130


def study(args: argparse.Namespace) -> int:
    """Read the documents, run the agent and show what it gained; return the exit status."""
    folder = args.folder or Path(sysconfig.get_path("stdlib"))
    suffixes = SUFFIXES if args.folder else {".py"}
    documents = read_folder(folder.expanduser(), args.max_files, glob=args.glob, suffixes=suffixes)
    if not documents:
        print(f"No text files match {args.glob or '**/*'!r} in {folder}.", file=sys.stderr)
        return 2
    print(f"An agent studies {len(documents)} documents of {folder}.", flush=True)
    if not args.compare:  # LangGraph has the machine to itself
        distgraph.connect(args.backend)  # Ray starts while LangChain is imported
    agent, described = build_agent(documents)
    print(f"Its model: {described}.", flush=True)
    asked = {"messages": [("user", args.question or question_about(list(documents)))]}
    before = run_by_langgraph(agent, asked) if args.compare else None
    seconds, first, run = run_by_distgraph(agent, asked, args.backend)
    show_gain(run)
    if before is None:
        print(f"The first event came {first:.1f} s after the start of the program.")
    else:
        same = "the same report" if run.snapshot().text == before[1] else "another report"
        print(
            f"LangGraph in this process: {before[0]:.1f} s. distgraph, with the start of Ray: "
            f"{seconds:.1f} s, {before[0] / seconds:.1f} times as fast, {same}."
        )
    if args.timeline:
        run.timeline().save(args.timeline)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
