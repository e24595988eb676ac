"""Tools that compute over a folder of documents: statistics, extraction and a search index.

The documents travel with the tools, once to each worker process: workers need not see the folder.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from codestats import measure

PASSAGE = 24
"""Lines of a passage, the unit of search and of comparison."""

_WORD = re.compile(r"[a-z]{3,}")


def passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield the passages of a document in lower case, each with its first line."""
    lines = text.lower().splitlines()
    for start in range(0, len(lines), PASSAGE):
        yield start + 1, "\n".join(lines[start : start + PASSAGE])


class Library:
    """The documents, and what each process derives from them once, when it is first needed."""

    def __init__(self, documents: dict[str, str]) -> None:
        self.documents = documents

    def text(self, document: str) -> str:
        """Return a document. The model is told of a name that it has made up."""
        if document not in self.documents:
            raise ToolException(f"There is no document {document!r}.")
        return self.documents[document]

    @cached_property
    def index(self) -> SearchIndex:
        """The search index of all documents."""
        return SearchIndex(self.documents)

    @cached_property
    def words(self) -> dict[str, list[frozenset[str]]]:
        """The words of each passage of each document."""
        return {
            name: [frozenset(_WORD.findall(passage)) for _, passage in passages(text)]
            for name, text in self.documents.items()
        }

    def nearest(self, document: str) -> tuple[str, float]:
        """Return the document most like this one, and how much its passages have in common.

        That is the mean, over the passages, of the largest Jaccard index with one of the other's.
        """
        own = [words for words in self.words[document] if words]

        def likeness(other: list[frozenset[str]]) -> float:
            best = (max(len(a & b) / len(a | b) for b in other) for a in own)
            return sum(best) / max(1, len(own))

        likes = {name: likeness(w) for name, w in self.words.items() if name != document}
        name = max(likes, key=lambda name: likes[name], default="none")
        return name, likes.get(name, 0.0)

    def tools(self) -> list[BaseTool]:
        """Return the tools of an agent."""

        def statistics(document: str) -> str:
            """Measure a document, and find the document that it resembles most."""
            measured = measure(document, self.text(document))
            name, share = self.nearest(document)
            return f"{measured} Nearest document: {name}, {share:.0%} in common."

        def outline(document: str) -> str:
            """Extract what a document defines, or its headings, with the first sentence of each."""
            return extract_outline(self.text(document))

        def search(query: str) -> str:
            """Find the passages of all documents that fit a query best."""
            best = self.index.search(query)
            return "; ".join(f"{name} line {line}" for name, line in best) or "no passage fits"

        functions = (search, statistics, outline)
        return [StructuredTool.from_function(f, handle_tool_error=True) for f in functions]


def extract_outline(text: str, most: int = 6) -> str:
    """Return the largest definitions of Python source, or the headings of other text."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        headings = re.findall(r"^#+ +(.+)$|^(.+)\n[=-]{3,}$", text, re.MULTILINE)
        return "; ".join(a or b for a, b in headings[:most]) or "no headings"
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [n for n in body if isinstance(n, kinds) and not n.name.startswith("_")]
    found.sort(key=lambda n: n.lineno - (n.end_lineno or n.lineno))
    said = [(n.name, (ast.get_docstring(n) or "undocumented").split("\n")[0]) for n in found]
    return "; ".join(f"{name}: {first.rstrip('.')}" for name, first in said[:most]) or "nothing"


class SearchIndex:
    """Ranks passages by BM25 (Robertson and Walker, 1994)."""

    def __init__(self, documents: dict[str, str], k: float = 1.2, b: float = 0.75) -> None:
        self._k, self._b = k, b
        self._places: list[tuple[str, int]] = []
        self._lengths: list[int] = []
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for name, text in documents.items():
            for line, passage in passages(text):
                words = Counter(_WORD.findall(passage))
                for word, count in words.items():
                    self._postings[word].append((len(self._places), count))
                self._places.append((name, line))
                self._lengths.append(words.total())

    def search(self, query: str, most: int = 3) -> list[tuple[str, int]]:
        """Return document and first line of the best passages."""
        mean = sum(self._lengths) / max(1, len(self._lengths))
        scores: defaultdict[int, float] = defaultdict(float)
        for word in set(_WORD.findall(query.lower())):
            postings = self._postings.get(word, [])
            rarity = math.log(1 + (len(self._places) - len(postings) + 0.5) / (len(postings) + 0.5))
            for passage, count in postings:
                norm = self._k * (1 - self._b + self._b * self._lengths[passage] / mean)
                scores[passage] += rarity * count * (self._k + 1) / (count + norm)
        best = sorted(scores, key=lambda passage: (-scores[passage], passage))[:most]
        return [self._places[passage] for passage in best]
