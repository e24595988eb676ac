"""Completion of attributes in consoles and notebooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ("completable",)

F = TypeVar("F", bound=Callable[..., Any])


def completable(getter: F) -> F:
    """Hide the return annotation of a property at run time, for one that has a ``Literal``.

    Jedi, by which IPython completes, fails on such a property, and with it on the whole object.
    """
    getter.__annotations__.pop("return", None)
    return getter
