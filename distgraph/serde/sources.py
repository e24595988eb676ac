"""Source lines of code that travels by value, for ``inspect.getsource`` and tracebacks on workers.

A notebook cell is no file, and a script need not exist on the worker's machine: ``linecache`` finds
no line there. The lines travel with the program, outside of its content hash.
"""

from __future__ import annotations

import linecache
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

__all__ = ("is_installed", "keep_sources", "sources_of")

_LONGEST = 1 << 20
"""Characters of a file that travels; of a longer one, only the lines of tracebacks do."""


def sources_of(filenames: Iterable[str]) -> dict[str, str]:
    """Return the text of each file of the user's own, as far as this process knows it.

    Installed packages are left out: every worker has them.
    """
    found = dict[str, str]()
    for name in dict.fromkeys(filenames):
        if not is_installed(name):
            text = "".join(linecache.getlines(name))
            if 0 < len(text) <= _LONGEST:
                found[name] = text
    return found


def keep_sources(sources: Mapping[str, str]) -> None:
    """Let this process know the text of files that it may not have."""
    for name, text in sources.items():
        known = linecache.cache.get(name)
        lines = text.splitlines(keepends=True)
        if known is None or len(known) != 4 or known[2] != lines:
            # without a time of change the entry stays, though there may be no such file
            linecache.cache[name] = (len(text), None, lines, name)


@lru_cache(maxsize=4096)
def is_installed(path: str) -> bool:
    """Return whether a file or folder belongs to the standard library or to installed packages."""
    real = os.path.realpath(path)
    return any(real == prefix or real.startswith(prefix + os.sep) for prefix in _prefixes())


@lru_cache(maxsize=1)
def _prefixes() -> frozenset[str]:
    return frozenset(os.path.realpath(path) for path in _installed())


def _installed() -> Iterator[str]:
    yield os.path.dirname(os.path.dirname(__file__))
    paths = sysconfig.get_paths()
    yield from (paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from getattr(site, "getsitepackages", list)()
    yield site.getusersitepackages()
    for prefix in (sys.prefix, sys.base_prefix):
        version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
        yield os.path.join(prefix, getattr(sys, "platlibdir", "lib"), version)
