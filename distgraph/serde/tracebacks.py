"""Tracebacks as plain data, and real tracebacks made of that data in another process.

A rebuilt traceback has the file, line, columns and function name of every frame, so that Python,
pdb, Jupyter and IDEs quote the same source lines as for a local failure. ``tblib`` is not used: it
has no columns, and Python 3.11 and later then mark the wrong part of the line.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
from collections.abc import Sequence
from types import CodeType, TracebackType
from typing import Any

from distgraph._internal.tracebacks import entries_of, module_of
from distgraph.contract.failure import Frame

__all__ = ("build_traceback", "read_frames")

_FIRST, _LAST = 20, 380
"""Outermost and innermost frames that are kept of a traceback."""


def read_frames(traceback: TracebackType | None) -> tuple[Frame, ...]:
    """Return the frames of a traceback as data, the outermost first.

    Of an endless recursion, the frames in the middle are left out.
    """
    entries = entries_of(traceback)
    if len(entries) > _FIRST + _LAST:
        entries = [*entries[:_FIRST], *entries[-_LAST:]]
    return tuple(_frame(entry) for entry in entries)


def build_traceback(frames: Sequence[Frame]) -> TracebackType | None:
    """Return a traceback of these frames.

    Source lines of files that this process cannot read are quoted as they were read elsewhere.
    """
    following: TracebackType | None = None
    for frame in reversed(frames):
        _keep_source(frame)
        entry = _raised(frame)
        entry.tb_next = following
        following = entry
    return following


def _frame(entry: TracebackType) -> Frame:
    code, scope = entry.tb_frame.f_code, entry.tb_frame.f_globals
    line = entry.tb_lineno or code.co_firstlineno
    span = _span(code, entry.tb_lasti)
    last = line if span is None else max(line, min(span[0], line + 20))
    lines = [linecache.getline(code.co_filename, n, scope) for n in range(line, last + 1)]
    name = getattr(code, "co_qualname", code.co_name)
    return Frame(code.co_filename, line, name, module_of(entry), span, "".join(lines))


def _span(code: CodeType, instruction: int) -> tuple[int, int, int] | None:
    if sys.version_info >= (3, 11):
        found = next(itertools.islice(code.co_positions(), instruction // 2, None), None)
        if found is not None and None not in found:
            return found[1], found[2], found[3]  # type: ignore[return-value]
    return None


def _raised(frame: Frame) -> TracebackType:
    """Return the traceback of an exception that was raised at a frame's place."""
    end, column, end_column = frame.span or _whole_line(frame)
    place = {
        "lineno": frame.line,
        "end_lineno": max(end, frame.line),
        "col_offset": column,
        "end_col_offset": end_column,
    }
    statement = ast.Raise(exc=ast.Name("_Raised", ast.Load(), **place), cause=None, **place)
    code = compile(ast.Module([statement], []), frame.filename, "exec")
    code = code.replace(co_name=frame.name.rpartition(".")[2])
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=frame.name)
    try:
        exec(code, {"__name__": frame.module, "__file__": frame.filename, "_Raised": _Raised})
    except _Raised as error:
        assert error.__traceback__ is not None and error.__traceback__.tb_next is not None
        return error.__traceback__.tb_next
    raise AssertionError(frame)


def _whole_line(frame: Frame) -> tuple[int, int, int]:
    """Return the place of a whole line, in which Python marks nothing."""
    text = frame.source.partition("\n")[0] or linecache.getline(frame.filename, frame.line)
    blob = text.rstrip().encode()
    return frame.line, len(blob) - len(blob.lstrip()), len(blob)


class _Raised(Exception):
    """Raised to have a traceback made."""


def _keep_source(frame: Frame) -> None:
    """Have source lines quoted of a file that cannot be read here."""
    if not frame.source or linecache.getline(frame.filename, frame.line):
        return
    known: Any = linecache.cache.get(frame.filename)
    lines = list(known[2]) if known is not None and len(known) == 4 else []
    source = frame.source.splitlines(keepends=True)
    lines += ["\n"] * (frame.line - 1 + len(source) - len(lines))
    lines[frame.line - 1 : frame.line - 1 + len(source)] = source
    # without a time of change the entry stays, though there is no such file
    linecache.cache[frame.filename] = (sum(map(len, lines)), None, lines, frame.filename)
