"""The sentinel for "no value here", where None is a value like any other."""

from __future__ import annotations

from typing import Any, Final

__all__ = ("MISSING",)


class _Missing:
    """Type of ``MISSING``: there is one instance in a process, and pickling keeps it the same."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
"""An empty channel's checkpoint, an argument that was not given."""
