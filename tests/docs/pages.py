"""Reads the Python blocks of the documentation, with what the text around them says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^```(\w*)\s*$")
_RAY = re.compile(r"^<!--\s*ray\s*-->$")
_LOCAL = re.compile(r"^<!--\s*local:\s*(.*?)\s*-->$")
_SERVED = re.compile(r"^<!--\s*served(:.*?)?\s*-->$")
"""Marks blocks that need a server: tests/serve/test_serve_page.py runs them."""
_SKIP = re.compile(r"^<!--\s*skip:\s*(.*?)\s*-->$")


@dataclass(frozen=True)
class Block:
    """One Python block of a page."""

    page: str
    line: int
    """Line of the page that the code starts on, from 1."""
    code: str
    ray: bool
    """Marked ``<!-- ray -->``: runs on Ray instead of the local backend."""
    local: str | None
    """The reason, where it is marked ``<!-- local: reason -->``: runs on the local backend only."""
    skip: str | None
    """The reason, where it is marked ``<!-- skip: reason -->``."""
    output: str | None
    """The ``output`` block that follows: what the code prints; ``...`` stands for anything."""


def blocks(page: str) -> list[Block]:
    """Return the Python blocks of a page, in order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    index = 0
    marker = ""
    last_python = served = False
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is None:
            if text := lines[index].strip():
                marker = text
                last_python = False
            index += 1
            continue
        start = index + 1
        index = start
        while lines[index] != "```":
            index += 1
        body = "\n".join(lines[start:index]) + "\n"
        language = fence.group(1)
        if _SERVED.match(marker):
            marker, index = "", index + 1
            served = True
            continue
        if language == "output" and served:
            index += 1
            served = False
            continue
        served = False
        if language == "python":
            skip, local = _SKIP.match(marker), _LOCAL.match(marker)
            found.append(
                Block(
                    page=page,
                    line=start + 1,
                    code=body,
                    ray=bool(_RAY.match(marker)),
                    local=local.group(1) if local else None,
                    skip=skip.group(1) if skip else None,
                    output=None,
                )
            )
        elif language == "output":
            if not last_python:
                raise ValueError(f"{page}:{start}: an output block follows no Python block")
            found[-1] = Block(**{**found[-1].__dict__, "output": body})
        last_python = language == "python"
        marker = ""
        index += 1
    return found


def matches(expected: str, printed: str) -> bool:
    """Return whether what was printed is what the page shows, ``...`` standing for anything."""
    pattern = ".*?".join(re.escape(part) for part in expected.rstrip().split("..."))
    return re.fullmatch(pattern, printed.rstrip(), re.DOTALL) is not None
