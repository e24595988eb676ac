"""Supported versions of LangGraph."""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib import metadata

from distgraph.errors import MissingExtraError, UnsupportedError

__all__ = ("LOWEST", "NEXT_MAJOR", "TESTED", "check_version")

LOWEST = (1, 0, 10)
"""The first version whose compiled graphs have all that is read of them."""
TESTED = (1, 2, 24)
"""The newest version that the tests ran with."""
NEXT_MAJOR = (2, 0, 0)
"""The first version that may change what is read of compiled graphs without notice."""


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def check_version() -> None:
    """Check that the compiled graphs of the installed LangGraph can be read.

    A version newer than the newest tested one gives one warning per process.

    Raises:
        MissingExtraError: LangGraph is not installed.
        UnsupportedError: The version is out of the supported range; the message names the range.
    """
    try:
        installed = metadata.version("langgraph")
    except metadata.PackageNotFoundError:
        raise MissingExtraError(
            "distgraph.distribute runs graphs that LangGraph compiled and needs it: "
            "pip install 'distgraph[agents]'"
        ) from None
    release = _release(installed)
    if not LOWEST <= release < NEXT_MAJOR:
        raise UnsupportedError(
            f"langgraph {installed} is installed; distgraph.distribute reads the compiled graphs "
            f"of {_text(LOWEST)} up to, not including, {_text(NEXT_MAJOR)}. Install one of these: "
            f"pip install 'langgraph>={_text(LOWEST)},<{_text(NEXT_MAJOR)}'"
        )
    if release > TESTED:
        _warn_once(installed)


@cache
def _warn_once(installed: str) -> None:
    warnings.warn(
        f"langgraph {installed} is newer than {_text(TESTED)}, the newest version that this "
        "version of distgraph was tested with. If a graph behaves differently, report it and "
        f"install langgraph=={_text(TESTED)}",
        UserWarning,
        stacklevel=4,  # the line that called ``distribute``
    )


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return (0,) if found is None else tuple(int(n or 0) for n in found.groups())
