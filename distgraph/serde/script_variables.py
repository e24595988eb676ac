"""Context variables that no module can be asked for: those of a script, a notebook or a function.

Each process has one for each original, known by a token. Values travel with a run, as those of
other variables do.
"""

from __future__ import annotations

import contextvars
import secrets
import threading
from contextvars import ContextVar
from typing import Any

from distgraph._internal.missing import MISSING
from distgraph.concurrency.forking import free_in_forks

__all__ = ("default_of", "reduce_variable", "script_variable", "token_of")

_lock = free_in_forks(threading.Lock())
_variables: dict[str, ContextVar[Any]] = {}
_tokens: dict[ContextVar[Any], str] = {}
# Both keep the variables: Python itself frees no variable that a context has had a value of.


def token_of(variable: ContextVar[Any]) -> str | None:
    """Return the token of a variable that was sent to another process or came from one."""
    return _tokens.get(variable)


def script_variable(token: str, name: str, *default: Any) -> ContextVar[Any]:
    """Return this process's variable for an original."""
    with _lock:
        found = _variables.get(token)
        if found is None:
            given = {"default": default[0]} if default else {}
            found = _variables[token] = ContextVar(name, **given)
            _tokens[found] = token
        return found


def reduce_variable(variable: ContextVar[Any]) -> Any:
    """Reduce a variable to its token, name and default."""
    with _lock:
        token = _tokens.setdefault(variable, secrets.token_hex(12))
        _variables[token] = variable
    default = default_of(variable)
    return script_variable, (token, variable.name, *(() if default is MISSING else (default,)))


def default_of(variable: ContextVar[Any]) -> Any:
    """Return the default of a variable, ``MISSING`` if it has none."""
    try:
        return contextvars.Context().run(variable.get)
    except LookupError:
        return MISSING
