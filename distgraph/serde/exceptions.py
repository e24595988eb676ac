"""Exceptions on their way from a worker to the caller: plain data that rebuilds them.

``capture_error`` takes an exception apart where it was raised; ``rebuild_error`` puts it together
where it is caught, as an instance of the caller's own class. What crosses is text and bytes, so
that whoever carries it needs none of the classes.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from distgraph.contract.failure import ErrorParts, ShippedError
from distgraph.errors import NodeFailed
from distgraph.serde import pickling

__all__ = ("capture_error", "rebuild_error")

_MAX_CHAIN = 20
"""Causes and contexts that are followed; what lies deeper is in the traceback's text."""

_NATIVE = (
    *("errno", "strerror", "filename", "filename2", "characters_written"),  # OSError
    *("name", "path", "msg"),  # ImportError, NameError, AttributeError
    *("lineno", "offset", "text", "end_lineno", "end_offset", "print_file_and_line"),  # SyntaxError
    *("encoding", "object", "start", "end", "reason"),  # UnicodeError
    *("code", "value"),  # SystemExit, StopIteration
)
"""Attributes that built-in exceptions keep outside of ``__dict__``."""

_MACHINERY = frozenset({"actors", "asyncio", "concurrent", "distgraph", "ray"})
"""Packages whose frames lead up to the user's code: left out of the traceback's text."""


def capture_error(exc: BaseException, *, note_lines: Sequence[str] = ()) -> ShippedError:
    """Take an exception apart, on the worker that caught it.

    Never raises: at worst the name of the class, the message and the traceback are left.

    Args:
        exc: The exception, with its traceback.
        note_lines: Notes to add, such as the node, the step and the host.
    """
    try:
        shipped = _capture(exc, set())
    except Exception:
        shipped = ShippedError(_type_name(exc), _text(exc), _traceback(exc))
    return replace(shipped, notes=(*shipped.notes, *note_lines))


def rebuild_error(shipped: ShippedError, *, notes: Sequence[str] = ()) -> BaseException:
    """Put the exception together again, at the caller.

    Returns an instance of the caller's own class, ``str(exc)`` as it was, its causes rebuilt
    too, with the notes and the remote traceback attached as notes; or ``NodeFailed`` with type
    name, message and traceback where the class cannot be had here. Never raises.
    """
    exc = _rebuild(shipped)
    with contextlib.suppress(Exception):
        _add_notes(exc, (*notes, "Traceback on the worker:\n" + shipped.traceback_text.rstrip()))
    return exc


def _rebuild(shipped: ShippedError) -> BaseException:
    try:
        exc = _instance(shipped)
    except Exception:
        exc = NodeFailed(
            f"{shipped.type_name}: {shipped.message}" if shipped.message else shipped.type_name,
            shipped.type_name,
            shipped.traceback_text,
        )
    with contextlib.suppress(Exception):
        exc.__cause__ = None if shipped.cause is None else _rebuild(shipped.cause)
        exc.__context__ = None if shipped.context is None else _rebuild(shipped.context)
        exc.__suppress_context__ = shipped.suppress_context
        _set_notes(exc, shipped.notes)
    return exc


def _instance(shipped: ShippedError) -> BaseException:
    exc: Any
    if shipped.pickled is not None:
        exc = pickling.loads(shipped.pickled)
        for name, blob in shipped.lost:
            setattr(exc, name, pickling.loads(blob))
    elif shipped.parts is not None:
        children = None
        if shipped.children is not None:
            children = [_rebuild(child) for child in shipped.children]
        exc = _from_parts(shipped.parts, children)
    else:
        raise LookupError(shipped.type_name)
    if not isinstance(exc, BaseException):
        raise TypeError(shipped.type_name)
    str(exc)
    return exc


# --- taking apart --------------------------------------------------------------------------------


def _capture(exc: BaseException, seen: set[int], *, nested: bool = False) -> ShippedError:
    seen.add(id(exc))

    def linked(other: BaseException | None) -> ShippedError | None:
        if other is None or id(other) in seen or len(seen) > _MAX_CHAIN:
            return None
        return _capture(other, seen, nested=True)

    dropped: list[str] = []
    members = _members(exc)
    pickled = parts = children = None
    lost: tuple[tuple[str, bytes], ...] = ()
    if members is not None:
        children = tuple(_capture(member, seen, nested=True) for member in members)
        parts = _take_apart(exc, dropped, group=True)
    else:
        pickled, lost = _own_pickle(exc)
        if pickled is None:
            parts = _take_apart(exc, dropped)
    notes = [str(note) for note in getattr(exc, "__notes__", None) or ()]
    if dropped:
        notes.append(f"Could not be sent from the worker: {', '.join(dropped)}")
    return ShippedError(
        type_name=_type_name(exc),
        message=_text(exc),
        # the outermost text holds the whole chain already
        traceback_text="" if nested else _traceback(exc),
        notes=tuple(notes),
        pickled=pickled,
        lost=lost,
        parts=parts,
        children=children,
        cause=linked(exc.__cause__),
        context=linked(exc.__context__) if not exc.__suppress_context__ else None,
        suppress_context=exc.__suppress_context__,
    )


def _members(exc: BaseException) -> Sequence[BaseException] | None:
    """Return the exceptions of a group (built in from 3.11 on, a package before)."""
    if any(base.__name__ == "BaseExceptionGroup" for base in type(exc).__mro__):
        members: Sequence[BaseException] = exc.exceptions  # type: ignore[attr-defined]
        return members
    return None


def _own_pickle(exc: BaseException) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Return the exception's own pickle if an equal exception comes out of it, and what it loses.

    A class that says how it is pickled may leave out attributes that were set later.
    """
    try:
        blob = pickling.dumps(exc)
        back = pickling.loads(blob)
        says_how = _says_how(type(exc))
        added = exc.__dict__.keys() - back.__dict__.keys()
        same = (
            type(back) is type(exc)
            and (bool(back.args == exc.args) or says_how)
            and (says_how or not added)
            and not back.__dict__.keys() - exc.__dict__.keys()
            and str(back) == str(exc)
        )
        lost = tuple((n, pickling.dumps(exc.__dict__[n])) for n in sorted(added - {"__notes__"}))
    except Exception:
        return None, ()
    return (blob, lost) if same else (None, ())


def _says_how(cls: type) -> bool:
    """Tell whether a class defines by itself how it is pickled, as pydantic's errors do."""
    for base in cls.__mro__:
        if "__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__:
            return base.__module__ != "builtins"
    return False


def _take_apart(
    exc: BaseException, dropped: list[str], *, group: bool = False
) -> ErrorParts | None:
    try:
        cls = pickling.dumps(type(exc))
    except Exception:
        return None
    args: list[Any] = []
    own_args = (exc.message,) if group else exc.args  # type: ignore[attr-defined]
    for i, value in enumerate(own_args):
        if _pickles(value):
            args.append(value)
        else:
            args.append(repr(value))
            dropped.append(f"argument {i} ({type(value).__qualname__}; its repr was sent)")
    attributes: list[tuple[str, bytes]] = []
    hidden = {} if group else {n: getattr(exc, n) for n in _NATIVE if _is_native(exc, n)}
    for name, value in {**exc.__dict__, **hidden}.items():
        if name == "__notes__":
            continue
        try:
            attributes.append((name, pickling.dumps(value)))
        except Exception:
            dropped.append(f"attribute {name!r} ({type(value).__qualname__})")
    parts = ErrorParts(cls, pickling.dumps(args), tuple(attributes))
    try:
        str(_from_parts(parts, list(exc.exceptions) if group else None))  # type: ignore[attr-defined]
    except Exception:
        return None
    return parts


def _pickles(value: Any) -> bool:
    try:
        pickling.loads(pickling.dumps(value))
    except Exception:
        return False
    return True


def _is_native(exc: BaseException, name: str) -> bool:
    """Tell whether ``name`` is an attribute of a built-in base that is set."""
    owner = next((base for base in type(exc).__mro__ if name in base.__dict__), None)
    if owner is None or owner.__module__ != "builtins" or name in exc.__dict__:
        return False
    return getattr(exc, name, None) is not None


def _type_name(exc: BaseException) -> str:
    cls = type(exc)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as error:
        return f"<str() of it failed: {type(error).__name__}>"


def _traceback(exc: BaseException) -> str:
    try:
        frames = _users_frames(exc.__traceback__)
        return "".join(traceback.format_exception(type(exc), exc, frames))
    except Exception:
        return f"{_type_name(exc)}: {_text(exc)}\n"


def _users_frames(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback less its leading frames of the machinery, all of it if that is all."""
    rest = frames
    while rest is not None:
        if str(rest.tb_frame.f_globals.get("__name__")).partition(".")[0] not in _MACHINERY:
            return rest
        rest = rest.tb_next
    return frames


# --- putting together ----------------------------------------------------------------------------


def _from_parts(parts: ErrorParts, members: list[BaseException] | None) -> BaseException:
    cls = pickling.loads(parts.cls)
    args = tuple(pickling.loads(parts.args))
    exc: BaseException
    if members is not None:
        base = next(b for b in cls.__mro__ if b.__name__ == "BaseExceptionGroup")
        exc = base.__new__(cls, *args, members)
    else:
        try:
            exc = cls.__new__(cls, *args)
        except TypeError:  # a __new__ of its own that wants other arguments
            exc = _builtin_base(cls).__new__(cls)
        exc.args = args
    for name, blob in parts.attributes:
        value = pickling.loads(blob)
        if _is_slot(cls, name):
            with contextlib.suppress(AttributeError, TypeError):
                setattr(exc, name, value)
        else:
            exc.__dict__[name] = value
    return exc


def _builtin_base(cls: type) -> Any:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _is_slot(cls: type, name: str) -> bool:
    owner = next((base for base in cls.__mro__ if name in base.__dict__), None)
    return owner is not None and owner.__module__ == "builtins"


def _set_notes(exc: BaseException, notes: Sequence[str]) -> None:
    exc.__dict__.pop("__notes__", None)
    _add_notes(exc, notes)


def _add_notes(exc: BaseException, notes: Sequence[str]) -> None:
    if notes:
        # what add_note does from 3.11 on; before, nobody prints it but it can be read
        known = list(getattr(exc, "__notes__", None) or ())
        exc.__dict__["__notes__"] = [*known, *notes]
