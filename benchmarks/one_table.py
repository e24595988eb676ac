"""The command line of a benchmark that makes one table of the documentation."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import pages

__all__ = ("parser", "publish")


def parser(
    module: str, doc: str | None, repeat: int | None, of: str = ""
) -> argparse.ArgumentParser:
    """Return the parser of the options.

    Args:
        module: Name of the benchmark's module.
        doc: Its docstring.
        repeat: How often it measures by default; None: once, and there is no option for that.
        of: What it repeats.
    """
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=doc)
    if repeat is not None:
        made.add_argument("--repeat", type=int, default=repeat, metavar="N", help=of)
    made.add_argument("--write-docs", action="store_true", help="put the table into its page")
    return made


def publish(text: str, page: Path, name: str, *, write: bool) -> None:
    """Print a table; with ``write``, also put it into its page, between the markers of its name."""
    print(text)
    if write:
        pages.write(page, {name: text})
