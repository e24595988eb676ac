"""Retry decisions as LangGraph makes them: whether a failed attempt is retried, and after how
long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from distgraph import errors
from distgraph._internal.policies import default_retry_on
from distgraph.types import RetryPolicy

__all__ = ("Levels", "delay_before", "policies_of", "verdicts_on")

Levels = Sequence[Sequence["RetryPolicy"]]
"""Policies of a node, then those of the graph around it, and so on outwards."""


def policies_of(given: Any) -> tuple[RetryPolicy, ...]:
    """Return the policies that ``retry_policy`` was given: None, one, or several of them.

    LangGraph's policies become distgraph's.

    Raises:
        TypeError: It is none of these, or a ``retry_on`` can name no exception.
        ValueError: A number of seconds, or ``backoff_factor``, is below 0.
    """
    if given is None:
        return ()
    one = hasattr(given, "max_attempts") or not isinstance(given, Sequence)
    return tuple(_policy(item) for item in ([given] if one else given))


def _policy(given: Any) -> RetryPolicy:
    try:
        values = {name: getattr(given, name) for name in RetryPolicy._fields}
    except AttributeError:
        raise TypeError(
            f"retry_policy takes a RetryPolicy or a sequence of them, got {type(given).__name__}"
        ) from None
    for name in ("max_attempts", "initial_interval", "backoff_factor", "max_interval"):
        _check_number(name, values[name])
    names = values["retry_on"]
    if getattr(names, "__name__", "") == "default_retry_on":
        names = default_retry_on
    elif isinstance(names, Sequence):
        if isinstance(names, str) or not all(map(_is_exception_class, names)):
            raise TypeError(_MUST_BE.format(names))
        names = tuple(cls for named in names for cls in _both(named))
    elif isinstance(names, type) and issubclass(names, Exception):
        names = both if len(both := _both(names)) > 1 else names
    elif not callable(names):
        raise TypeError(_MUST_BE.format(names))
    return RetryPolicy(**{**values, "retry_on": names})


def _check_number(name: str, value: Any) -> None:
    """Refuse what LangGraph fails on after the first attempt; ``max_attempts=0`` means one."""
    if not isinstance(value, Real):
        raise TypeError(f"RetryPolicy.{name} must be a number, got {value!r}")
    if name != "max_attempts" and not float(value) >= 0:
        raise ValueError(f"RetryPolicy.{name} must be at least 0, got {value!r}")


def _is_exception_class(named: Any) -> bool:
    return isinstance(named, type) and issubclass(named, BaseException)


def _both(named: Any) -> tuple[Any, ...]:
    """Return an exception class; for a class of LangGraph, also distgraph's of that name."""
    if getattr(named, "__module__", "") != "langgraph.errors":
        return (named,)
    own = getattr(errors, named.__name__, None)
    return (named,) if own is None else (named, own)


_MUST_BE = (
    "retry_on must be an Exception class, a list or tuple of Exception classes, or a callable, "
    "got {!r}"
)


def applies(policy: RetryPolicy, error: BaseException) -> bool:
    """Return whether a policy retries after this error. Raises any exception of the policy's
    ``retry_on``."""
    named: Any = policy.retry_on
    if isinstance(named, Sequence):
        return isinstance(error, tuple(named))
    if isinstance(named, type) and issubclass(named, Exception):
        return isinstance(error, named)
    if callable(named):
        return bool(named(error))
    raise TypeError(_MUST_BE.format(named))


def verdicts_on(levels: Levels, error: BaseException) -> tuple[int | None, ...]:
    """Return which policy of each level names the error: the first that does, None for none."""
    if not any(levels):
        return ()
    return tuple(
        next((at for at, policy in enumerate(policies) if applies(policy, error)), None)
        for policies in levels
    )


def delay_before(policy: RetryPolicy, failures: int, random: Callable[[], float]) -> float | None:
    """Return the seconds to wait before the next attempt, None where there is none.

    Args:
        policy: The one that names the error.
        failures: Attempts that have failed, at least one.
        random: Returns numbers of [0, 1).
    """
    if failures >= policy.max_attempts:
        return None
    grown = policy.initial_interval * policy.backoff_factor ** (failures - 1)
    seconds = min(policy.max_interval, grown)
    return seconds + random() if policy.jitter else seconds
