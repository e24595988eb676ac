"""The settings: all environment variables that distgraph reads, and their allowed values.

``check`` looks at all of them at once, before anything is started. ``setting`` reads one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from distgraph._internal.mistakes import nearest, warn_once

__all__ = ("SETTINGS", "Setting", "adopt", "carried", "check", "complaint", "setting")

T = TypeVar("T")

PREFIX = "DISTGRAPH_"

_ON = ("on", "1", "true", "yes")
_OFF = ("off", "0", "false", "no")


class Setting(NamedTuple):
    """One environment variable."""

    allowed: str
    """What the value must be, for a message: it follows "must be"."""
    example: str
    """A value that is allowed."""
    read: Callable[[str], Any]
    """Returns what a text stands for. Raises ValueError for a text that is not allowed."""
    known: tuple[str, ...] = ()
    """The words that are allowed, if there are few."""


def _whole(least: int, unit: str, example: str) -> Setting:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            raise ValueError
        return int(text)

    return Setting(f"a whole number{unit} from {least}", example, read)


def _seconds(example: str, *, or_zero: bool = False, word: str = "") -> Setting:
    def read(text: str) -> float | None:
        if word and text.lower() in ("off", "no", "false"):
            return None
        seconds = float(text)
        if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not or_zero):
            raise ValueError
        return seconds

    allowed = f"a number of seconds {'from' if or_zero else 'above'} 0"
    return Setting(f'"{word}" or {allowed}' if word else allowed, example, read)


def _switch() -> Setting:
    def read(text: str) -> bool:
        if text.lower() not in (*_ON, *_OFF):
            raise ValueError
        return text.lower() in _ON

    return Setting('"on" or "off"', "on", read, ("on", "off"))


def _one_of(*words: str) -> Setting:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    named = ", ".join(f'"{word}"' for word in words[:-1])
    return Setting(f'{named} or "{words[-1]}"', words[-1], read, words)


def _log(text: str) -> int | None:
    """Return the level of log records that are written as JSON, None for none."""
    import logging

    if text == "off":
        return None
    kind, _, level = text.partition(":")
    number = logging.getLevelName(level.upper() or "INFO")
    if kind != "json" or not isinstance(number, int):
        raise ValueError
    return number


def _ports(text: str) -> tuple[int, int]:
    """Return the first and the last port of a range."""
    found = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", text)
    if found is None:
        raise ValueError
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last < 65536:
        raise ValueError
    return first, last


_BYTES = " of bytes"

SETTINGS: Mapping[str, Setting] = {
    "DISTGRAPH_AFFINITY_IDLE": _seconds("300", or_zero=True),
    "DISTGRAPH_API_KEY": Setting("a text", "a-long-secret", str),
    "DISTGRAPH_BACKEND": _one_of("ray", "local"),
    "DISTGRAPH_BUSY_POLL": _seconds("0.0005", or_zero=True),
    "DISTGRAPH_DETACHED_IDLE": _seconds("600"),
    "DISTGRAPH_DOCS": Setting("a URL", "https://docs.example.com/distgraph", str),
    "DISTGRAPH_DRIVERS": _whole(1, "", "2"),
    "DISTGRAPH_LEASES": _switch(),
    "DISTGRAPH_LOG": Setting('"off", "json" or "json:LEVEL"', "json:debug", _log, ("off", "json")),
    "DISTGRAPH_MAX_ATTEMPTS": _whole(1, "", "3"),
    "DISTGRAPH_MAX_BODY_BYTES": _whole(1, _BYTES, "67108864"),
    "DISTGRAPH_METRICS": _seconds("5", word="off"),
    "DISTGRAPH_MIRROR": _switch(),
    "DISTGRAPH_MISSING_RESOURCES": _one_of("wait", "raise"),
    "DISTGRAPH_ON_LOST_ATTEMPT": _one_of("raise", "reset", "buffer"),
    "DISTGRAPH_OTEL": _switch(),
    "DISTGRAPH_POOL_IDLE": _seconds("60", or_zero=True),
    "DISTGRAPH_PORTS": Setting("a range of ports from 1 to 65535", "20000-20100", _ports),
    "DISTGRAPH_REDUCER_TIMEOUT": _seconds("300"),
    "DISTGRAPH_REQUESTS_PER_MINUTE": _whole(1, "", "600"),
    "DISTGRAPH_SILENCE": _seconds("60"),
    "DISTGRAPH_STATUS": _switch(),
    "DISTGRAPH_STREAM_BYTES": _whole(1, _BYTES, "16777216"),
    "DISTGRAPH_STREAM_EVENTS": _whole(1, "", "100000"),
    "DISTGRAPH_STREAM_KEPT_BYTES": _whole(0, _BYTES, "67108864"),
    "DISTGRAPH_STREAM_KEPT_EVENTS": _whole(0, "", "1000000"),
    "DISTGRAPH_STREAM_KEPT_SECONDS": _seconds("3600", or_zero=True),
    "DISTGRAPH_STREAM_RETAINED_BYTES": _whole(0, _BYTES, "1048576"),
    "DISTGRAPH_STREAM_STARTED_BYTES": _whole(0, _BYTES, "1073741824"),
    "DISTGRAPH_TAKEOVER_BYTES": _whole(0, _BYTES, "67108864"),
    "DISTGRAPH_WORKER_IDLE": _seconds("10", or_zero=True),
    "LANGGRAPH_DEFAULT_RECURSION_LIMIT": _whole(1, "", "10007"),
    "LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT": _whole(1, "", "5000"),
}
"""What each variable may be. ``docs/reference/settings.md`` says what it does."""

CARRIED = ("DISTGRAPH_BUSY_POLL", "DISTGRAPH_PORTS")
"""Settings that driver, broker and mirror read themselves. Without them, they would have the
environment in which Ray was started on their machine."""

_checked: dict[Any, Any] = {}
"""The environment as it was when it was checked last."""


def setting(name: str, default: T) -> T:
    """Return what a variable stands for, ``default`` where it is not set or empty.

    Raises:
        ValueError: Its value is not allowed.
    """
    # ``os.environ.get`` takes five times as long, and each run reads several
    given = os.environ._data.get(os.environ.encodekey(name))  # type: ignore[attr-defined]
    text = "" if given is None else os.environ[name].strip()
    if not text:
        return default
    try:
        found: T = SETTINGS[name].read(text)
    except ValueError:
        raise ValueError(_refused(name, text)) from None
    return found


def adopt(given: Mapping[str, str]) -> None:
    """Let settings of the caller be those of this process, which a cluster has started."""
    os.environ.update(given)


def carried() -> dict[str, str]:
    """Return the settings that the processes of a session adopt from their caller."""
    return {name: os.environ[name] for name in CARRIED if os.environ.get(name, "").strip()}


def check() -> None:
    """Check all settings of this process, and warn of names that look like a misspelt one.

    Does nothing if the environment is what it was at the last call.

    Raises:
        ValueError: Some are not allowed; the message names each of them, and what it may be.
    """
    global _checked
    now: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]  # 30 times as fast
    if now == _checked:
        return
    message = complaint(os.environ)
    if message:
        raise ValueError(message)
    for name in os.environ:
        hint = ""
        if name.startswith(PREFIX) and name not in SETTINGS:
            hint = nearest(name, SETTINGS, 0.8)
        if hint:
            warn_once([f"the environment variable {name} has no effect.{hint}"])
    _checked = dict(now)


def complaint(environment: Mapping[str, str]) -> str:
    """Return what is wrong with the settings of an environment, one a line; "" if nothing is."""
    wrong, found = list[str](), dict[str, Any]()
    for name, one in SETTINGS.items():
        text = environment.get(name, "").strip()
        if text:
            try:
                found[name] = one.read(text)
            except ValueError:
                wrong.append(_refused(name, text))
    wrong += _too_few_ports(found)
    return "\n".join(wrong)


def _refused(name: str, text: str) -> str:
    one = SETTINGS[name]
    hint = nearest(text, one.known, 0.6)
    such = "" if one.example in one.known else f", such as {one.example}"
    return f"{name} must be {one.allowed}{such}, got {text!r}.{hint}"


def _too_few_ports(found: Mapping[str, Any]) -> list[str]:
    """Return the complaint about a range in which this process's own sessions have no room."""
    if "DISTGRAPH_PORTS" not in found:
        return []
    first, last = found["DISTGRAPH_PORTS"]
    drivers, mirror = found.get("DISTGRAPH_DRIVERS", 1), found.get("DISTGRAPH_MIRROR", False)
    needed, there = drivers * (4 if mirror else 3), last - first + 1
    if there >= needed:
        return []
    of = ", stream broker and mirror" if mirror else " and stream broker"
    return [
        f"DISTGRAPH_PORTS={first}-{last} has {there} port{'' if there == 1 else 's'}, and a "
        f"process with {drivers} superstep driver{'' if drivers == 1 else 's'} needs {needed}: for "
        f"each driver one of its own, and those of driver{of}. Each process that runs "
        "graphs on this machine needs as many: choose a range such as 20000-20100"
    ]
