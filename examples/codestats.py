"""What ``report.py`` measures of one file, in pure Python: structure, complexity, repetition.

For Python source: lines by kind, functions with their cyclomatic complexity (McCabe, 1976), the
pair of functions that resemble each other the most, the entropy of the identifiers, and
fingerprints of token runs for finding duplicates across files (winnowing: Schleimer, Wilkerson and
Aiken, SIGMOD 2003). Any other text is measured by its words.
"""

from __future__ import annotations

import ast
import io
import keyword
import math
import re
import tokenize
import zlib
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from itertools import combinations
from typing import TypedDict

RUN = 50
"""Tokens in a run that is compared: about six lines of code."""
WINDOW = 25
"""One fingerprint is kept of every window of this many runs."""
TWIN_LINES = 8
"""Functions shorter than this are alike by nature and are not compared."""
TWIN_TOKENS = 40
"""A function with fewer tokens, its docstring counting as one, is not compared either."""
TWIN_FUNCTIONS = 120
"""The longest functions of a file that are compared pairwise."""

_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_WORD = re.compile(r"\w+")

Progress = Callable[[int], None]
"""Called with a percentage."""


class Function(TypedDict):
    """One function of a file."""

    name: str
    line: int
    lines: int
    complexity: int


class FileStats(TypedDict):
    """What was measured of one file."""

    path: str
    lines: int
    code_lines: int
    comment_lines: int
    docstring_share: float
    """Share of functions and classes that have a docstring, 0 to 1."""
    functions: list[Function]
    twins: tuple[str, str, float] | None
    """The two functions that are the most alike, and their similarity, 0 to 1."""
    entropy: float
    """Bits per identifier (per word, for text)."""
    names: list[tuple[str, int]]
    """The most frequent identifiers or words, with their counts."""
    fingerprints: dict[int, int]
    """Hash of a run of tokens to the line that it starts on."""


def measure(path: str, text: str, progress: Progress) -> FileStats:
    """Measure one file; source that does not parse is measured as text."""
    if path.endswith((".py", ".pyi")):
        try:
            return _measure_python(path, text, progress)
        except (SyntaxError, tokenize.TokenError, RecursionError, ValueError):
            pass
    return _measure_text(path, text, progress)


def _measure_python(path: str, text: str, progress: Progress) -> FileStats:
    tree = ast.parse(text)
    progress(10)
    functions, documented = _functions(tree)
    progress(25)
    names: Counter[str] = Counter()
    shapes: list[tuple[str, int]] = []
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            comments.add(line)
        if token.type in _SKIPPED:
            continue
        code.update(range(line, token.end[0] + 1))
        shape = token.string
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            names[token.string] += 1
        elif token.type == tokenize.NUMBER:
            # Numbers are alike: two runs that differ in them alone are still duplicates.
            shape = "0"
        shapes.append((shape, line))
    progress(50)
    twins = _twins(functions, shapes)
    progress(90)
    return FileStats(
        path=path,
        lines=text.count("\n") + 1,
        code_lines=len(code),
        comment_lines=len(comments - code),
        docstring_share=documented,
        functions=functions,
        twins=twins,
        entropy=_entropy(names),
        names=names.most_common(8),
        fingerprints=_fingerprints(shapes),
    )


def _measure_text(path: str, text: str, progress: Progress) -> FileStats:
    lines = text.splitlines()
    words = [(w.lower(), n) for n, line in enumerate(lines, 1) for w in _WORD.findall(line)]
    progress(40)
    counts = Counter(w for w, _ in words)
    progress(60)
    return FileStats(
        path=path,
        lines=len(lines),
        code_lines=sum(1 for line in lines if line.strip()),
        comment_lines=0,
        docstring_share=0.0,
        functions=[],
        twins=None,
        entropy=_entropy(counts),
        names=Counter({w: n for w, n in counts.items() if len(w) > 4}).most_common(8),
        fingerprints=_fingerprints(words),
    )


def _functions(tree: ast.Module) -> tuple[list[Function], float]:
    """Return the functions by falling complexity, and the share of definitions with a docstring."""
    found: list[Function] = []
    definitions = documented = 0
    waiting: deque[tuple[ast.AST, str]] = deque([(tree, "")])
    while waiting:
        node, prefix = waiting.popleft()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
                waiting.append((child, prefix))
                continue
            name = f"{prefix}{child.name}"
            definitions += 1
            documented += ast.get_docstring(child, clean=False) is not None
            if isinstance(child, _FUNCTIONS):
                found.append(
                    Function(
                        name=name,
                        line=child.lineno,
                        lines=(child.end_lineno or child.lineno) - child.lineno + 1,
                        complexity=_complexity(child),
                    )
                )
            waiting.append((child, f"{name}."))
    found.sort(key=lambda f: (-f["complexity"], f["line"]))
    return found, documented / definitions if definitions else 0.0


def _complexity(function: ast.AST) -> int:
    """Cyclomatic complexity: one and one more for each branch, nested functions not included."""
    total = 1
    waiting = deque(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.popleft()
        if isinstance(node, _FUNCTIONS):
            continue
        if isinstance(node, _BRANCHES):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        waiting.extend(ast.iter_child_nodes(node))
    return total


def _twins(
    functions: list[Function], shapes: list[tuple[str, int]]
) -> tuple[str, str, float] | None:
    """Return the most similar pair of functions, neither of which holds the other."""
    starts = [line for _, line in shapes]
    bodies: list[tuple[Function, list[str]]] = []
    for function in sorted(functions, key=lambda f: -f["lines"])[:TWIN_FUNCTIONS]:
        if function["lines"] < TWIN_LINES:
            break
        # The first line holds the name, by which twins differ.
        first = bisect_left(starts, function["line"] + 1)
        last = bisect_left(starts, function["line"] + function["lines"])
        if last - first >= TWIN_TOKENS:
            bodies.append((function, [shape for shape, _ in shapes[first:last]]))
    best: tuple[str, str, float] | None = None
    floor = 0.6
    for (one, a), (two, b) in combinations(bodies, 2):
        if one["name"].startswith(two["name"] + ".") or two["name"].startswith(one["name"] + "."):
            continue
        if 2 * min(len(a), len(b)) <= floor * (len(a) + len(b)):
            continue
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        if matcher.quick_ratio() > floor and (ratio := matcher.ratio()) > floor:
            floor = ratio
            best = (one["name"], two["name"], round(ratio, 3))
    return best


def _entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


def _fingerprints(shapes: list[tuple[str, int]]) -> dict[int, int]:
    """Winnow: of every window of run hashes keep the smallest, with its line."""
    kept: dict[int, int] = {}
    for value, line in _winnow(_run_hashes(shapes)):
        kept.setdefault(value, line)
    return kept


def _run_hashes(shapes: list[tuple[str, int]]) -> Iterator[tuple[int, int]]:
    """Yield (rolling hash, first line) of each run of ``RUN`` tokens."""
    base, modulus = 1_000_003, (1 << 61) - 1
    leading = pow(base, RUN - 1, modulus)
    codes = [zlib.crc32(shape.encode("utf-8", "replace")) for shape, _ in shapes]
    rolling = 0
    for index, code in enumerate(codes):
        if index >= RUN:
            rolling = (rolling - codes[index - RUN] * leading) % modulus
        rolling = (rolling * base + code) % modulus
        if index >= RUN - 1:
            yield rolling, shapes[index - RUN + 1][1]


def _winnow(hashes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    smallest: deque[tuple[int, int, int]] = deque()
    last = -1
    for index, (value, line) in enumerate(hashes):
        while smallest and smallest[-1][1] >= value:
            smallest.pop()
        smallest.append((index, value, line))
        if smallest[0][0] <= index - WINDOW:
            smallest.popleft()
        if index >= WINDOW - 1 and smallest[0][0] != last:
            last = smallest[0][0]
            yield smallest[0][1], smallest[0][2]
