"""An existing LangGraph application on a cluster: one line, and the same chunks.

    python examples/distribute_langgraph.py [FILE …]

``langgraph_app.py`` is written for LangGraph alone. Here LangGraph runs it in this process, then
``distribute`` does on workers, and what both streamed is compared.

The model is the one that OPENAI_API_KEY or OPENAI_BASE_URL (and OPENAI_MODEL) name, which may
answer differently each time; without one it is the extractive model of this folder.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from distgraph import distribute
from extractive import ExtractiveChatModel
from langgraph_app import Document, build
from offline_agent import choose_model

CLONE = Path(__file__).resolve().parents[1]


def documents(names: list[str]) -> list[Document]:
    """Read the files; default: what this project says about itself."""
    paths = [Path(name) for name in names] or [
        CLONE / name for name in ("README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md")
    ]
    return [Document(name=p.name, text=p.read_text("utf-8", errors="replace")) for p in paths]


def shown(namespace: tuple[str, ...], mode: str, chunk: Any) -> str:
    """Return a chunk as a line, without what differs from run to run: ids and processes."""
    where = "/".join(part.split(":")[0] for part in namespace)
    if mode == "messages":
        message, metadata = chunk
        return f"{where or '-'} messages {metadata['langgraph_node']} {message.content!r}"
    if mode == "custom":
        chunk = f"{chunk['what']} {chunk['about']}"
    return f"{where or '-'} {mode} {chunk}"


def watch(title: str, graph: Any, given: list[Document]) -> list[str]:
    """Run a graph, print its chunks and which processes ran what, and return the chunks."""
    print(f"{title}:")
    lines: list[str] = []
    work: Counter[tuple[int, str]] = Counter()
    tokens = False
    for namespace, mode, chunk in graph.stream(
        {"documents": given}, stream_mode=["updates", "custom", "messages"], subgraphs=True
    ):
        lines.append(shown(namespace, mode, chunk))
        if mode == "custom":
            work[chunk["pid"], chunk["what"]] += 1
        if mode == "messages":
            print(f" {chunk[0].content!r}" if tokens else f"  {lines[-1]}", end="", flush=True)
        else:
            print("\n" if tokens else "", f"  {lines[-1][:110]}", sep="")
        tokens = mode == "messages"
    for pid in sorted({pid for pid, _ in work}):
        done = ", ".join(f"{what} ×{n}" for (own, what), n in sorted(work.items()) if own == pid)
        print(f"  process {pid}{' (this one)' if pid == os.getpid() else ''}: {done}")
    return lines


def main() -> int:
    """Run the application both ways; return 1 where the chunks differ."""
    model, described = choose_model(ExtractiveChatModel(sentences=2))
    print(f"model: {described}")
    graph = build(model)
    given = documents(sys.argv[1:])

    before = watch("LangGraph", graph, given)
    after = watch("distgraph", distribute(graph), given)

    # tasks that run in parallel stream in the order in which they happen to end
    same = sorted(before) == sorted(after)
    print(f"{len(before)} chunks from LangGraph, {len(after)} from distgraph: ", end="")
    print("the same" if same else "not the same")
    for line in (Counter(before) - Counter(after)) + (Counter(after) - Counter(before)):
        print(f"  only one has: {line}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
