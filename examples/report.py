"""Analyse a folder of source or text files on all cores of a cluster, and stream a report about it.

One task a file is started with ``Send``; each streams its progress and adds its measurements to
the state. When the last has ended they are combined, and a chat model writes the report, token by
token.

    python examples/report.py                             # the standard library of this Python
    python examples/report.py --folder ~/project --glob '**/*.py'

The model is the OpenAI-compatible endpoint that OPENAI_API_KEY or OPENAI_BASE_URL (and
OPENAI_MODEL) name; without one it is the extractive model of this folder, which only quotes the
measured facts.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import socket
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel

from codestats import FileStats, measure
from distgraph.config import get_stream_writer
from distgraph.graph import END, START, StateGraph
from distgraph.types import Send
from extractive import ExtractiveChatModel
from findings import Findings, find
from reportview import LiveView, PlainView, View

TEXT_SUFFIXES = {".py", ".pyi", ".md", ".rst", ".txt"}
NOT_SOURCE = {"site-packages", "test", "tests", "pydoc_data", "__pycache__", ".git", ".venv"}
MAX_BYTES = 1_000_000
PROMPT = "Write a short report about this code base from these facts alone, in their order:\n\n"


class State(TypedDict, total=False):
    """The state of the run."""

    sources: dict[str, str]
    """Path to text. The texts travel with the tasks, so workers need not see the folder."""
    files: Annotated[list[FileStats], operator.add]
    findings: Findings
    report: str


class Source(TypedDict):
    """The input of one analysis task."""

    path: str
    text: str


class Task:
    """Reports where a task runs, how far it is, and what it cost."""

    def __init__(self, node: str, label: str) -> None:
        self.write = get_stream_writer()
        self.fields: dict[str, Any] = {
            "node": node,
            "label": label,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self.wall = time.perf_counter()
        self.cpu = time.thread_time()
        self.progress(0)

    def progress(self, percent: int) -> None:
        """Stream how much of the task is done."""
        self.write({"kind": "progress", **self.fields, "percent": percent})

    def done(self) -> None:
        """Stream the seconds that the task took: of the clock, and of its thread's CPU time."""
        cost = {"wall": time.perf_counter() - self.wall, "cpu": time.thread_time() - self.cpu}
        self.write({"kind": "done", **self.fields, **cost})


def fan_out(state: State) -> list[Send]:
    """Start one task a file, the long ones first, so that none of them is left for the end."""
    longest_first = sorted(state["sources"].items(), key=lambda item: -len(item[1]))
    return [Send("analyse", Source(path=path, text=text)) for path, text in longest_first]


def analyse(source: Source) -> State:
    """Measure one file."""
    task = Task("analyse", source["path"])
    stats = measure(source["path"], source["text"], task.progress)
    task.done()
    return {"files": [stats]}


def combine(state: State) -> State:
    """Turn the measurements of all files into findings."""
    task = Task("combine", f"{len(state['files'])} files")
    findings = find(state["files"])
    task.done()
    return {"findings": findings}


def build_graph(model: BaseChatModel, backend: str | None = None) -> Any:
    """Build and compile the graph; ``model`` writes the report."""

    def write(state: State) -> State:
        task = Task("write", "report")
        answer = model.invoke(PROMPT + "\n".join(state["findings"]["facts"]))
        task.done()
        return {"report": str(answer.content)}

    builder = StateGraph(State)
    builder.add_node(analyse)
    builder.add_node(combine)
    builder.add_node(write)
    builder.add_conditional_edges(START, fan_out, ["analyse"])
    builder.add_edge("analyse", "combine")
    builder.add_edge("combine", "write")
    builder.add_edge("write", END)
    return builder.compile(backend=backend, name="report")


def choose_model(watched: bool) -> tuple[BaseChatModel, str]:
    """Return the model that the environment names, or the extractive one, and a description."""
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        from langchain_openai import ChatOpenAI

        name = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
        where = os.environ.get("OPENAI_BASE_URL", "the default OpenAI endpoint")
        if not os.environ.get("OPENAI_API_KEY"):
            # A local server needs no key, but the client insists on one.
            return ChatOpenAI(model=name, api_key=lambda: "unused"), f"{name} at {where}"
        return ChatOpenAI(model=name), f"{name} at {where}"
    model = ExtractiveChatModel(sentences=3, delay=0.02 if watched else 0.0)
    return model, "the extractive model (set OPENAI_API_KEY or OPENAI_BASE_URL for another)"


def read_sources(folder: Path, glob: str, max_files: int) -> dict[str, str]:
    """Return the text of the largest matching files, by their path within ``folder``."""
    found = [
        path
        for path in folder.glob(glob)
        if path.suffix in TEXT_SUFFIXES
        and not NOT_SOURCE.intersection(path.relative_to(folder).parts)
        and path.is_file()
        and 0 < path.stat().st_size <= MAX_BYTES
    ]
    found.sort(key=lambda path: (-path.stat().st_size, path))
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in found[:max_files]
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="The chat model comes from OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL.",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="what to read (default: this Python's standard library)",
    )
    parser.add_argument(
        "--glob",
        help="which files of the folder (default: source and text; of the standard library, *.py)",
    )
    parser.add_argument("--max-files", type=int, default=120, help="the largest N files (120)")
    parser.add_argument("--backend", choices=("ray", "local"), help="where nodes run")
    parser.add_argument("--plain", action="store_true", help="print lines instead of a live view")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write findings and report here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    args = arguments(argv)
    if args.folder is None:
        folder, glob = Path(sysconfig.get_path("stdlib")), args.glob or "**/*.py"
    else:
        folder, glob = args.folder.expanduser(), args.glob or "**/*"
    sources = read_sources(folder, glob, args.max_files)
    if not sources:
        print(f"No text files match {glob!r} in {folder}.", file=sys.stderr)
        return 2
    live = sys.stdout.isatty() and not args.plain
    model, described = choose_model(watched=live)
    view: View = (LiveView if live else PlainView)(
        title=f"{len(sources)} files of {folder}", model=described, tasks=len(sources)
    )
    graph = build_graph(model, args.backend)
    result: dict[str, Any] = {}
    try:
        with (
            view,
            closing(
                graph.stream({"sources": sources}, stream_mode=["updates", "custom", "messages"])
            ) as stream,
        ):
            for mode, chunk in stream:
                view.show(mode, chunk)
                if mode == "updates":
                    for update in chunk.values():
                        result.update({k: v for k, v in (update or {}).items() if k != "files"})
    except KeyboardInterrupt:
        print("\nInterrupted: the run was cancelled.", file=sys.stderr)
        return 130
    view.summary()
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
