"""Measures one document in pure Python: structure, complexity, vocabulary.

For Python source: lines by kind, functions with their cyclomatic complexity (McCabe, 1976), and the
entropy of the identifiers. Any other text is measured by its words.
"""

from __future__ import annotations

import ast
import io
import keyword
import math
import re
import tokenize
from collections import Counter, deque
from typing import TypedDict

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


class Function(TypedDict):
    """One function of a file."""

    name: str
    line: int
    lines: int
    complexity: int


def measure(path: str, text: str) -> str:
    """Measure a document, and say it in sentences. Source that does not parse counts as text."""
    if path.endswith((".py", ".pyi")):
        try:
            return _measure_python(text)
        except (SyntaxError, tokenize.TokenError, RecursionError, ValueError):
            pass
    words = [word.lower() for word in _WORD.findall(text)]
    counts = Counter(word for word in words if len(word) > 4)
    frequent = ", ".join(word for word, _ in counts.most_common(3))
    return (
        f"{text.count(chr(10)) + 1:,} lines with {len(words):,} words; "
        f"{_entropy(Counter(words)):.1f} bits a word; the most frequent: {frequent}."
    )


def _measure_python(text: str) -> str:
    functions, documented = _functions(ast.parse(text))
    names: Counter[str] = Counter()
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _SKIPPED:
            continue
        code.update(range(token.start[0], token.end[0] + 1))
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            names[token.string] += 1
    said = [
        f"{text.count(chr(10)) + 1:,} lines, {len(code):,} of them code",
        f"{len(functions)} functions",
        f"{documented:.0%} of the definitions documented",
        f"{_entropy(names):.1f} bits a name",
    ]
    if functions:
        first = functions[0]
        said.append(f"{first['name']} at line {first['line']} has complexity {first['complexity']}")
    return "; ".join(said) + "."


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


def _entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0
