"""Headers of a request as values of its run's config: ``http.configurable_headers``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ("HeaderRules",)

_OF_KEYS = ("x-api-key", "x-tenant-id", "x-service-key")
"""Headers that only an exact name includes: a pattern does not mean them."""


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Which headers of a request are in its run's config."""

    includes: tuple[str, ...]
    """Names of headers, in which ``*`` stands for any text."""
    excludes: tuple[str, ...] = ()
    """The same; they win."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> HeaderRules:
        """Return the rules that ``langgraph.json`` has. Without ``includes``, all headers that
        begin with ``x-`` are included.

        Raises:
            ValueError: A list is none; the text begins with its name.
        """
        return cls(_patterns(given, "includes", ("x-*",)), _patterns(given, "excludes", ()))

    def chosen(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that belong into a config; names have small letters."""
        return {
            name.lower(): value
            for name, value in headers.items()
            if not _fits(name.lower(), self.excludes) and self._includes(name.lower())
        }

    def _includes(self, name: str) -> bool:
        return name in self.includes or (name not in _OF_KEYS and _fits(name, self.includes))


def _patterns(given: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = given.get(key, given.get(key.removesuffix("s")))
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} must be a list of names of headers, got {value!r}")
    return tuple(each.lower() for each in value)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns
    )
