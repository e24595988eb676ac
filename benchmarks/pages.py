"""The pages of the documentation that have figures, and where these are on them.

What a benchmark writes is between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"

PAGE = _DOCS / "project" / "benchmarks.md"
LIMITS = _DOCS / "project" / "limits.md"
SIZING = _DOCS / "deploy" / "sizing.md"
CHART = _DOCS / "images" / "benchmarks.svg"


def filled(page: str, texts: Mapping[str, str]) -> str:
    """Return a page with each text between the markers of its name. What is empty stays as it is.

    Raises:
        ValueError: The page has no markers of that name.
    """
    for name, text in texts.items():
        begin, stop = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, start, rest = page.partition(begin)
        _, end, after = rest.partition(stop)
        if not start or not end:
            raise ValueError(f"the page has no {begin} … {stop} to put the results between")
        if text.strip():
            page = f"{before}{begin}\n\n{text.strip()}\n\n{stop}{after}"
    return page


def write(path: Path, texts: Mapping[str, str]) -> None:
    """Put texts between the markers of a page."""
    page = filled(path.read_text(encoding="utf-8"), texts)
    path.write_text(page, encoding="utf-8")
