"""What a run of upstream's tests comes to: counts, failures by cause, and what passed before."""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along

KINDS = ("private internal", "hosted service", "accepted here", "shared memory", "upstream's own")
"""Kinds of reasons for which a test is not asked of distgraph."""


@dataclass(frozen=True)
class Exclusion:
    """Tests that are not run, and why."""

    kind: str
    reason: str
    tests: tuple[str, ...]
    """Node ids below ``tests/``, with or without parameters; ``*`` stands for anything."""
    backend: str | None = None
    """None for every backend."""
    package: str = "langgraph"
    """The package whose tests they are."""


def exclusions(path: Path) -> list[Exclusion]:
    """Read ``excluded.toml``. Raises ``ValueError`` for an unknown kind or a missing reason."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("exclude", [])
    read = []
    for entry in entries:
        exclusion = Exclusion(
            entry["kind"],
            entry["reason"],
            tuple(entry["tests"]),
            entry.get("backend"),
            entry.get("package", "langgraph"),
        )
        if exclusion.kind not in KINDS or not exclusion.reason.strip():
            raise ValueError(f"{path.name}: a kind of {KINDS} and a reason, not {entry}")
        read.append(exclusion)
    return read


@dataclass
class Results:
    """What became of each test, by node id below ``tests/``."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """With the error's message."""
    excluded: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    """Not part of ``--quick``."""
    skipped: set[str] = field(default_factory=set)
    """Skipped, or expected to fail, by upstream itself."""
    lost: set[str] = field(default_factory=set)
    """Collected, and nothing more heard of: the process ended before."""
    files: dict[str, str] = field(default_factory=dict)
    """Files that could not be collected, with the error's message."""
    patterns: set[str] = field(default_factory=set)
    """Patterns of exclusions that matched a test."""

    def ran(self) -> set[str]:
        """Return the tests with an outcome that counts."""
        return self.passed | self.failed.keys() | self.lost


def results(lines: Iterable[str]) -> Results:
    """Read what the plugin wrote. A failure in any phase of a test is a failure of the test."""
    found = Results()
    for entry in map(json.loads, lines):
        _enter(found, entry)
    found.passed -= found.failed.keys()
    found.lost -= found.passed | found.failed.keys() | found.skipped
    return found


def _enter(found: Results, entry: Mapping[str, Any]) -> None:
    outcome = entry["outcome"]
    if outcome == "not collected":
        found.files[entry["file"]] = entry["error"]
    elif outcome == "failed":
        found.failed[entry["test"]] = entry["error"]
    else:
        sets = {
            "passed": found.passed,
            "excluded": found.excluded,
            "left out": found.left_out,
            "skipped": found.skipped,
            "collected": found.lost,
        }
        sets[outcome].add(entry["test"])
        found.patterns |= set(entry.get("patterns", ()))


def function(test: str) -> str:
    """Return the test's function: its node id without parameters."""
    return test.partition("[")[0]


# --- what passed before --------------------------------------------------------------------------


def compact(found: Results) -> list[str]:
    """Return what passed, sorted: a function by itself where all its cases did, else its cases."""
    whole = {function(t) for t in found.passed} - {
        function(t) for t in (*found.failed, *found.lost, *found.left_out)
    }
    lines = whole | {t for t in found.passed if function(t) not in whole}
    return sorted(lines)


def read_passed(path: Path) -> set[str]:
    """Read a list of passed tests; empty lines and those that begin with ``#`` do not count."""
    if not path.exists():
        return set()
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def regressions(found: Results, before: set[str], files: Iterable[str]) -> dict[str, str]:
    """Return the tests that passed before and do not pass now, each with what became of it.

    Only tests of ``files`` are asked for. A test that was excluded since, or that is not part of
    what runs now, is no regression; one that is no longer there is.
    """
    asked = {line for line in before if line.partition("::")[0] in set(files)}
    worse = {
        test: found.failed.get(test, "the process ended before it")
        for test in found.ran() - found.passed
        if test in asked or function(test) in asked
    }
    known = found.ran() | found.excluded | found.left_out | found.skipped
    known |= {function(test) for test in known}
    worse |= dict.fromkeys(asked - known, "it was not collected")
    return worse


# --- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """How many of some tests passed, failed, and were not asked."""

    passed: int
    failed: int
    excluded: int

    def percent(self) -> float:
        """Return the share of those asked that passed, in percent; 100 where none was asked."""
        asked = self.passed + self.failed
        return 100.0 * self.passed / asked if asked else 100.0


def count(found: Results, *, file: str | None = None, functions: bool = False) -> Count:
    """Count cases, or functions (passed if all its cases did), of a file or of all of them."""

    def of(tests: Iterable[str]) -> set[str]:
        chosen = (t for t in tests if file is None or t.partition("::")[0] == file)
        return {function(t) if functions else t for t in chosen}

    failed = of((*found.failed, *found.lost))
    passed = of(found.passed) - failed
    return Count(len(passed), len(failed), len(of(found.excluded) - passed - failed))


def excluded_by_kind(found: Results, entries: Iterable[Exclusion]) -> dict[str, int]:
    """Return how many functions were excluded for each kind of reason that there was."""
    kinds: dict[str, set[str]] = defaultdict(set)
    functions = {function(test) for test in found.excluded}
    for entry in entries:
        for pattern in map(function, entry.tests):
            kinds[entry.kind] |= set(fnmatch.filter(functions, pattern))
    return {kind: len(kinds[kind]) for kind in KINDS if kinds[kind]}


_VARIES = (
    (re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{32}\b"), "…"),
    (re.compile(r"\b\d+(\.\d+)?\b"), "N"),
    (re.compile(r"'[^']{25,}'"), "'…'"),
)


def cause(error: str) -> str:
    """Return the first line of an error's message, without what varies from test to test."""
    line = error.strip().splitlines()[0] if error.strip() else "no message"
    for pattern, instead in _VARIES:
        line = pattern.sub(instead, line)
    return line[:160]


def causes(found: Results) -> Iterator[tuple[str, list[str]]]:
    """Yield each cause of failures with its tests, the most frequent first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for test, error in sorted(found.failed.items()):
        groups[cause(error)].append(test)
    if found.lost:
        groups["the process ended before it"] = sorted(found.lost)
    yield from sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
