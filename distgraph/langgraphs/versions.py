"""Which versions of LangGraph's graphs can be read."""

from __future__ import annotations

import re
from importlib import metadata

from distgraph.errors import MissingExtraError, UnsupportedError

__all__ = ("LOWEST", "NEWEST", "check_version")

LOWEST = (1, 0, 10)
NEWEST = (1, 2, 22)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def check_version() -> None:
    """Refuse a LangGraph whose compiled graphs this version of distgraph was not tested with.

    Raises:
        MissingExtraError: LangGraph is not installed.
        UnsupportedError: It is too old or too new; names the range.
    """
    try:
        installed = metadata.version("langgraph")
    except metadata.PackageNotFoundError:
        raise MissingExtraError(
            "distgraph.distribute runs graphs that LangGraph compiled and needs it: "
            "pip install 'distgraph[agents]'"
        ) from None
    if not LOWEST <= _release(installed) <= NEWEST:
        raise UnsupportedError(
            f"langgraph {installed} is installed; distgraph.distribute reads the compiled graphs "
            f"of {_text(LOWEST)} to {_text(NEWEST)}. Install one of these: "
            f"pip install 'langgraph>={_text(LOWEST)},<={_text(NEWEST)}'"
        )


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return (0,) if found is None else tuple(int(n or 0) for n in found.groups())
