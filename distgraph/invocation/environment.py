"""Recognizes the failure of a node that lacks a variable or a file of the caller's process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping

__all__ = ("missing_file", "missing_variable", "note_of_file", "note_of_missing")

_NAME = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
_SAYS = re.compile(r"\benv(?:ironment)?\b|field required", re.IGNORECASE)
_FIELD = re.compile(r"^(\w+)\n\s+Field required", re.MULTILINE)
"""How pydantic reports a setting that is missing."""


def missing_variable(error: BaseException, environ: Mapping[str, str]) -> str | None:
    """Return the variable that an error says is missing and ``environ``, the caller's, has.

    Looks at the error and its causes: ``KeyError`` of ``os.environ[...]``, the messages of clients
    that name the variable, and pydantic's report of a required setting.
    """
    for exc in _chain(error):
        try:
            text = str(exc.args[0]) if isinstance(exc, KeyError) and exc.args else str(exc)
        except Exception:  # code of the user's class
            continue
        if isinstance(exc, KeyError):
            if _NAME.fullmatch(text) and text in environ:
                return text
            continue
        if not _SAYS.search(text):
            continue
        named: list[str] = [*_NAME.findall(text), *(name.upper() for name in _FIELD.findall(text))]
        found = next((name for name in named if name in environ), None)
        if found is not None:
            return found
    return None


def note_of_missing(name: str) -> str:
    """Return the note for an error; it does not contain the variable's value."""
    return (
        f"The environment variable {name} is set in this process and was missing where the node "
        "ran: variables that a program has not set itself do not travel. Ship it with "
        f'ray.init(runtime_env={{"env_vars": {{"{name}": os.environ["{name}"]}}}}) before the '
        'first run, or with ray_options={"runtime_env": {"env_vars": {...}}} of the node'
    )


def missing_file(error: BaseException, exists: Callable[[str], bool]) -> str | None:
    """Return the path that an error says is missing, if it exists for the caller."""
    for exc in _chain(error):
        if isinstance(exc, FileNotFoundError):
            path = exc.filename
            return path if isinstance(path, str) and path and exists(path) else None
    return None


def note_of_file(path: str) -> str:
    """Return the note for an error about a missing path."""
    where = "may run on other machines" if os.path.isabs(path) else "have another working folder"
    return (
        f"The path {path!r} exists for this process and was missing where the node ran: workers "
        f"{where}. Use an absolute path on a file system that all machines share, or pass the "
        "content in the state"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
