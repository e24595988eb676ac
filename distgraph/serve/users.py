"""Users of the server: who makes a request, as handlers and graphs see it.

Workers import this module where a graph reads its user; it needs nothing of the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ("User", "as_user", "shown_user")

_FIELDS = ("identity", "display_name", "is_authenticated", "permissions")


class User:
    """Who makes a request: what ``authenticate`` returned, with attributes and with keys."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    @property
    def identity(self) -> str:
        """Tells users apart."""
        return str(self._given["identity"])

    @property
    def display_name(self) -> str:
        """A name for people; the identity where none was given."""
        return str(self._given.get("display_name") or self.identity)

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is known."""
        return bool(self._given.get("is_authenticated", True))

    @property
    def permissions(self) -> Sequence[str]:
        """What handlers may go by."""
        return list(self._given.get("permissions") or ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._given[name]
        except KeyError:
            raise AttributeError(
                f"the user {self._given.get('identity')!r} has no {name!r}"
            ) from None

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in _FIELDS else self._given[key]

    def __contains__(self, key: object) -> bool:
        return key in self._given or key in _FIELDS

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*_FIELDS, *self._given)))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the user."""
        try:
            return self[key]
        except KeyError:
            return default

    def __repr__(self) -> str:
        return f"User({self.identity!r})"


def as_user(given: Any) -> Any:
    """Return what ``authenticate`` returned as a user: a text, a dict, or an object.

    Raises:
        TypeError: It has no identity.
    """
    if isinstance(given, str):
        given = {"identity": given}
    if isinstance(given, Mapping):
        if not given.get("identity"):
            raise TypeError("authenticate returned a dict without an identity")
        return User(given)
    if not getattr(given, "identity", None):
        raise TypeError(
            f"authenticate returned {type(given).__name__}: return the identity of the user, a "
            "dict with it, or an object that has it"
        )
    return given


def shown_user(user: Any) -> dict[str, Any] | None:
    """Return a user as JSON has it; None for somebody who did not have to say who asks."""
    identity = getattr(user, "identity", None)
    if not identity:
        return None
    found = {key: user[key] for key in user} if isinstance(user, User) else {}
    for name in _FIELDS:
        value = getattr(user, name, None)
        if value is not None:
            found[name] = list(value) if name == "permissions" else value
    return found
