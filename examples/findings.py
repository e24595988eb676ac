"""What ``report.py`` makes of all files: totals, rankings, duplicates, and facts as sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import TypedDict

from codestats import FileStats

COMPLEX = 15
"""From here on a function counts as complex."""
COMMON = 8
"""A run of tokens that more files than this share is boilerplate, not a duplicate."""


class Duplicate(TypedDict):
    """Two files that share runs of tokens."""

    one: str
    one_line: int
    two: str
    two_line: int
    shared: int
    """Fingerprints in common."""


class Findings(TypedDict):
    """The result of the analysis."""

    files: int
    lines: int
    functions: int
    complex_functions: int
    duplicates: list[Duplicate]
    facts: list[str]
    """Sentences under ``# heading`` lines: the prompt of the report."""


def find(files: list[FileStats]) -> Findings:
    """Combine the files' measurements."""
    functions = [(f["path"], g) for f in files for g in f["functions"]]
    functions.sort(key=lambda pair: (-pair[1]["complexity"], pair[0]))
    complex_ones = [pair for pair in functions if pair[1]["complexity"] >= COMPLEX]
    duplicates = _duplicates(files)
    lines = sum(f["lines"] for f in files)
    code = sum(f["code_lines"] for f in files)
    comments = sum(f["comment_lines"] for f in files)

    facts = ["# Size"]
    facts.append(f"{_count(len(files), 'file')} with {lines:,} lines were read.")
    if files:
        largest = max(files, key=lambda f: f["lines"])
        facts.append(f"The longest file is {largest['path']} with {largest['lines']:,} lines.")
    if functions:
        facts.append(
            f"{code:,} lines hold code and {comments:,} hold only a comment, "
            f"one comment line for every {code / max(comments, 1):.1f} lines of code."
        )
        python = [f for f in files if f["functions"]]
        documented = sum(f["docstring_share"] for f in python) / len(python)
        facts.append(f"In a file, {documented:.0%} of the definitions have a docstring on average.")

    facts.append("# Complexity")
    if functions:
        facts.append(
            f"Of {len(functions):,} functions, {len(complex_ones):,} have a cyclomatic complexity "
            f"of {COMPLEX} or more ({len(complex_ones) / len(functions):.1%})."
        )
    for path, function in functions[:3]:
        facts.append(
            f"Function {function['name']} in {path} line {function['line']} has a complexity of "
            f"{function['complexity']} over {function['lines']} lines."
        )
    dense = _densest(files)
    if dense:
        facts.append(
            f"Complex functions gather in {dense[0]}, which has {_count(dense[1], 'of them', '')}."
        )

    facts.append("# Repetition")
    for pair in duplicates[:3]:
        facts.append(
            f"Files {pair['one']} line {pair['one_line']} and {pair['two']} line "
            f"{pair['two_line']} share {_count(pair['shared'], 'run')} of 50 tokens or more."
        )
    if not duplicates:
        facts.append("No two files share a run of 50 tokens.")
    for path, (one, two, ratio) in _twins(files)[:3]:
        facts.append(f"Functions {one} and {two} in {path} are {ratio:.0%} alike.")

    facts.append("# Vocabulary")
    names: Counter[str] = Counter()
    for file in files:
        names.update(dict(file["names"]))
    if names:
        common = ", ".join(name for name, _ in names.most_common(6))
        facts.append(f"The most frequent names are {common}.")
    rich = [f for f in files if f["lines"] >= 50 and len(f["names"]) > 5]
    if rich:
        varied, plain = (pick(rich, key=lambda f: f["entropy"]) for pick in (max, min))
        facts.append(
            f"The most varied vocabulary is that of {varied['path']} with "
            f"{varied['entropy']:.1f} bits a name, the least varied that of {plain['path']} with "
            f"{plain['entropy']:.1f} bits."
        )
    return Findings(
        files=len(files),
        lines=lines,
        functions=len(functions),
        complex_functions=len(complex_ones),
        duplicates=duplicates,
        facts=facts,
    )


def _count(number: int, one: str, plural: str = "s") -> str:
    return f"{number:,} {one}{'' if number == 1 else plural}"


def _densest(files: Iterable[FileStats]) -> tuple[str, int] | None:
    counts = {
        f["path"]: sum(1 for g in f["functions"] if g["complexity"] >= COMPLEX) for f in files
    }
    path = max(counts, key=lambda p: (counts[p], p), default=None)
    return (path, counts[path]) if path is not None and counts[path] else None


def _twins(files: Iterable[FileStats]) -> list[tuple[str, tuple[str, str, float]]]:
    found = [(f["path"], f["twins"]) for f in files if f["twins"] is not None]
    return sorted(found, key=lambda pair: (-pair[1][2], pair[0]))


def _duplicates(files: Iterable[FileStats]) -> list[Duplicate]:
    """Return the pairs of files with common fingerprints, those that share the most first."""
    holders: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for file in files:
        for value, line in file["fingerprints"].items():
            holders[value].append((file["path"], line))
    pairs: dict[tuple[str, str], Duplicate] = {}
    for places in holders.values():
        if not 2 <= len(places) <= COMMON:
            continue
        for (one, one_line), (two, two_line) in combinations(sorted(places), 2):
            pair = pairs.setdefault(
                (one, two),
                Duplicate(one=one, one_line=one_line, two=two, two_line=two_line, shared=0),
            )
            pair["shared"] += 1
            if one_line < pair["one_line"]:
                pair["one_line"], pair["two_line"] = one_line, two_line
    return sorted(pairs.values(), key=lambda p: (-p["shared"], p["one"], p["two"]))
