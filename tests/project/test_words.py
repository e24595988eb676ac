"""The language of pages, docstrings and messages: short sentences, LangGraph's and Ray's terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LONGEST = 32
"""Words of a sentence, at most."""
COMMON = 25
"""Words that most sentences have at most."""
SHARE = 0.08
"""Sentences of a page, at most, that may have more than ``COMMON`` words."""

FORBIDDEN = {
    r"told|tells? (the|a|an|of|that|its|whether|which)\b": "report, return, decide, say",
    r"hears?( of)?|heard": "receive",
    r"lends?|lent": "allow, give",
    r"whoever": "the caller, the process that …",
    r"ours|theirs": "distgraph's, LangGraph's",
    r"of its kin|and its kin": "similar",
    r"afresh": "again, from its beginning",
    r"mend(s|ed)?": "fix",
    r"(be|is|are|was) honoured": "supported",
    r"at work": "running",
    r"put off": "restarted, delayed",
    r"without further words": "by default",
    r"how-manieth": "number",
    r"is let go( of)?|are let go( of)?": "released",
    r"marks? .{0,20}fail nothing": "a missed target does not fail the run",
    r"questions? to the caller|puts? (a )?questions?": "interrupt",
    r"a limit of time": "timeout",
    r"here too each|there too a": "also",
    r"what became of": "the outcome of",
    r"breaks? off": "stop",
    r"of a run's kind|side by side": "in parallel",
    r"two ways lead": "you have two ways",
}
ALLOWED = {
    # page or file, without folder: words there that a test, a quotation or the meaning requires
    "calls.py": ("lend: Of",),  # a parameter
    "worker.py": ("lend: Allows",),
    "heartbeats.py": ("heard: When",),
}
_WORDS = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in FORBIDDEN), re.IGNORECASE)
_NEW_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)")


def _prose(page: str) -> str:
    """Return a page without front matter, code blocks, comments and pictures."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- results -->.*<!-- end of results -->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<img.*?>", "", text, flags=re.DOTALL)
    return re.sub(r"^ {4}(?![-*\d]).*$", "", text, flags=re.MULTILINE)


def _plain(text: str) -> str:
    """Return text with code as one word, and links as their words."""
    text = re.sub(r"``[^`]+``|`[^`]*`", "X", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def _sentences(text: str) -> Iterator[str]:
    for block in _NEW_BLOCK.split(text):
        table = block.lstrip().startswith("|")
        cells = re.split(r"(?<!\\)[|\n]", block) if table else [block]
        for cell in cells:
            yield from re.split(r"(?<=[.:;?!])[*)\"]*\s+", _plain(" ".join(cell.split())))


def _length(sentence: str) -> int:
    return len(re.findall(r"[A-Za-z0-9][\w'’.-]*", sentence))


def _forbidden(text: str, name: str) -> list[str]:
    allowed = ALLOWED.get(Path(name).name, ())
    found = []
    for match in _WORDS.finditer(_plain(text)):
        around = _plain(text)[max(0, match.start() - 30) : match.end() + 30]
        if not any(words in around for words in allowed):
            instead = next(v for k, v in FORBIDDEN.items() if re.fullmatch(k, match[0], re.I))
            found.append(f"{match[0]!r} in {' '.join(around.split())!r}: write {instead}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_uses_no_private_words(page: str) -> None:
    assert _forbidden(_prose(page), page) == []


@pytest.mark.parametrize("page", PAGES)
def test_sentences_of_a_page_are_short(page: str) -> None:
    sentences = [s for s in _sentences(_prose(page)) if s.strip()]
    assert [s for s in sentences if _length(s) > LONGEST] == []
    long = [s for s in sentences if _length(s) > COMMON]
    assert len(long) <= max(1, SHARE * len(sentences)), long


# --- docstrings and messages --------------------------------------------------------------------

CODE = sorted(path for top in ("distgraph", "actors") for path in (ROOT / top).rglob("*.py"))


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield docstrings, also of attributes, and the literals of errors and warnings, with lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node.lineno, node.value.value
        elif isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_messages_use_no_private_words(path: Path) -> None:
    found = [f"line {n}: {x}" for n, text in _strings(path) for x in _forbidden(text, path.name)]
    assert found == []


def test_the_check_finds_words_and_long_sentences(tmp_path: Path) -> None:
    assert _forbidden("The driver is told of it.", "page.md") == [
        "'told' in 'The driver is told of it.': write report, return, decide, say"
    ]
    assert _forbidden("A `told` in code is fine.", "page.md") == []
    assert _length("one two `three`") == 3
    assert list(_sentences("One. Two: three.\n- four")) == ["One.", "Two:", "three.", "- four"]
