"""Map-reduce over documents: one task a document, then one report, streamed word by word.

    python examples/map_reduce.py                  # this project's documentation, Python's license
    python examples/map_reduce.py FILE [FILE …]

The model is the one that OPENAI_API_KEY or OPENAI_BASE_URL (and OPENAI_MODEL) name, which then
reads the documents; without one it is the extractive model of this folder.
"""

from __future__ import annotations

import operator
import re
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel

from distgraph.graph import START, StateGraph
from distgraph.types import Send
from extractive import ExtractiveChatModel
from offline_agent import choose_model
from whoran import WhoRan, tell

MAX_CHARACTERS = 20_000
NOTHING = "Nothing in this document is a sentence."


class Document(TypedDict):
    """The input of one map task."""

    name: str
    text: str


class Summary(TypedDict):
    """What a map task found."""

    name: str
    words: dict[str, int]
    summary: str


class State(TypedDict, total=False):
    """The state of the run."""

    documents: list[Document]
    summaries: Annotated[list[Summary], operator.add]
    words: list[tuple[str, int]]
    report: str


def spread(state: State) -> list[Send]:
    """Send each document to a task of its own."""
    return [Send("summarize", document) for document in state["documents"]]


def build_graph(model: BaseChatModel) -> Any:
    """Build the graph; ``model`` writes the summaries and the report."""
    # the summaries are read by the next step, not by a person: their tokens are not streamed
    quiet = model.with_config(tags=["nostream"])

    def summarize(document: Document) -> State:
        """Map: the longer words of a document, and what it says."""
        tell("summarize", document["name"])
        text = document["text"]
        words = Counter(re.findall(r"[a-z]{6,}", text.lower()))
        answer = quiet.invoke(f"Summarize this text in two sentences:\n\n{prose(text)}")
        said = str(answer.content) or NOTHING
        summary = Summary(name=document["name"], words=words, summary=said)
        return {"summaries": [summary]}

    def combine(state: State) -> State:
        """Reduce: the words of all documents."""
        tell("combine", len(state["summaries"]))
        total: Counter[str] = sum((Counter(s["words"]) for s in state["summaries"]), Counter())
        return {"words": total.most_common(5)}

    def write(state: State) -> State:
        """Write the report about all documents."""
        tell("write", "report")
        parts = [f"# {s['name']}\n{s['summary']}" for s in state["summaries"]]
        prompt = "Write a report about these documents, a paragraph for each:\n\n"
        answer = model.invoke(prompt + "\n\n".join(parts))
        return {"report": str(answer.content)}

    builder = StateGraph(State).add_node(summarize).add_node(combine).add_node(write)
    builder.add_conditional_edges(START, spread, ["summarize"])
    return builder.add_edge("summarize", "combine").add_edge("combine", "write").compile()


def prose(text: str) -> str:
    """Return a document's paragraphs, each on one line, without tables, code and headings."""
    blocks = re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    kept = [" ".join(b.split()) for b in blocks if re.match(r"\W*[A-Z][^|]*[.:]$", b.strip())]
    return "\n".join(kept or [" ".join(text.split())])


def documents(names: list[str]) -> list[Document]:
    """Read the files; the texts travel with the tasks, so workers need not see them."""
    clone = Path(__file__).resolve().parents[1]
    chosen = [clone / "README.md", *sorted((clone / "docs" / "guides").glob("*.md"))]
    chosen.append(Path(sysconfig.get_path("stdlib")) / "LICENSE.txt")
    paths = [Path(name) for name in names] or [path for path in chosen if path.is_file()]
    return [
        Document(name=path.name, text=path.read_text("utf-8", errors="replace")[:MAX_CHARACTERS])
        for path in paths
    ]


def main() -> None:
    """Run the graph, and print progress, words and the report as they arrive."""
    offline = ExtractiveChatModel(sentences=2)
    model, described = choose_model(offline)
    if model is offline:
        offline.notice = False  # said once, here: the report quotes summaries that are quotes
        described += "; every sentence below is copied from the documents"
    given = documents(sys.argv[1:])
    print(f"model: {described}\n{len(given)} documents")
    who = WhoRan()
    for mode, chunk in build_graph(model).stream(
        {"documents": given}, stream_mode=["custom", "messages", "updates"]
    ):
        if mode == "custom":
            who.add(chunk)
            print(f"{chunk['what']} {chunk['about']} in process {chunk['pid']}")
        elif mode == "messages":
            print(chunk[0].content, end="", flush=True)
        elif "combine" in chunk:
            counted = ", ".join(f"{word} {count}" for word, count in chunk["combine"]["words"])
            print(f"most frequent longer words: {counted}")
    print()
    who.show()


if __name__ == "__main__":
    main()
