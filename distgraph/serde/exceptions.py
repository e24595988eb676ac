"""Exceptions on their way from where they are raised to where they are caught.

``capture_error`` takes an exception where it was raised; ``rebuild_error`` returns it where it is
caught. Within one process that is the very object. Between processes it is taken apart when it is
pickled, and put together as an instance of the caller's own class. What crosses is text and bytes,
so a process that carries it needs none of the classes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable, Iterable, Sequence
from types import MemberDescriptorType
from typing import Any

from distgraph._internal.tracebacks import hide_machinery
from distgraph.contract.failure import ErrorData, ErrorParts, ShippedError
from distgraph.errors import NodeFailed, Unsent
from distgraph.serde import pickling
from distgraph.serde.exception_attributes import dumps_class, dumps_field
from distgraph.serde.reducers import new_exception
from distgraph.serde.tracebacks import build_traceback, read_frames

__all__ = ("capture_error", "rebuild_error", "release_error")

_MAX_CHAIN = 20
"""Causes and contexts that are followed; what lies deeper is in the traceback's text."""

_MOST = 100
"""Exceptions that one exception takes along as causes, contexts and values."""

_NATIVE = (
    *("errno", "strerror", "filename", "filename2", "characters_written"),  # OSError
    *("name", "path", "msg", "obj"),  # ImportError, NameError, AttributeError
    *("lineno", "offset", "text", "end_lineno", "end_offset", "print_file_and_line"),  # SyntaxError
    *("encoding", "object", "start", "end", "reason"),  # UnicodeError
    *("code", "value"),  # SystemExit, StopIteration
)
"""Attributes that built-in exceptions keep outside of ``__dict__``."""

_OBJECT = "obj"
"""Attribute of an ``AttributeError``, used for suggestions only; the value can be any object."""

_ARGS = "args"
"""What ``BaseException`` keeps outside of ``__dict__``, and some constructors set otherwise."""

_LARGE = 100_000
"""Bytes from which such an object is not sent."""


class _LiveError(ShippedError):
    """An exception in the process that caught it: taken apart when it is pickled."""

    def __init__(self, exc: BaseException) -> None:
        super().__init__(_type_name(exc), _text(exc), None)
        self.__dict__["exc"] = exc

    def taken(self) -> ErrorData:
        """Return the exception's data, computed once."""
        data = self.data
        if data is None:
            data = self.__dict__["data"] = _safely_apart(
                self.__dict__["exc"], _Seen(), nested=False
            )
        return data

    def has_attribute(self, name: str) -> bool:
        exc = self.__dict__["exc"]
        return super().has_attribute(name) if exc is None else name in vars(exc)

    def __reduce__(self) -> Any:
        return ShippedError, (self.type_name, self.message, self.taken())

    def __copy__(self) -> ShippedError:
        return self

    def __deepcopy__(self, memo: object) -> ShippedError:
        return self


def capture_error(exc: BaseException, *, note_lines: Sequence[str] = ()) -> ShippedError:
    """Convert an exception into picklable form, in the process that caught the exception.

    Frames of distgraph are removed from the traceback. Never raises.

    Args:
        exc: The exception, with its traceback.
        note_lines: Notes to add, such as the node, the step and the host.
    """
    with contextlib.suppress(Exception):
        exc.with_traceback(hide_machinery(exc.__traceback__))
    with contextlib.suppress(Exception):
        add_notes(exc, note_lines)
    return _LiveError(exc)


def release_error(shipped: ShippedError) -> None:
    """Keep the data only: the frames of the exception, and what they hold, can be freed."""
    if isinstance(shipped, _LiveError) and shipped.__dict__["exc"] is not None:
        shipped.taken()
        shipped.__dict__["exc"] = None


def rebuild_error(shipped: ShippedError, *, notes: Sequence[str] = ()) -> BaseException:
    """Return the exception.

    In the process in which it was captured, that is the very object. Elsewhere it is an instance
    of the caller's own class, with the same text, its causes rebuilt too, and with a traceback of
    the same frames; or ``NodeFailed`` where the class cannot be had here. Never raises.
    """
    exc: BaseException | None = shipped.__dict__.get("exc")
    if exc is None:
        exc = _rebuild(shipped)
        data = shipped.data
        if data is not None and exc.__traceback__ is None and data.frames:
            text = f"Traceback in another process ({data.where}):\n{data.traceback_text}"
            notes = (*notes, text.rstrip())
    with contextlib.suppress(Exception):
        add_notes(exc, notes)
    return exc


def _rebuild(
    shipped: ShippedError, rebuilt: dict[int, BaseException] | None = None
) -> BaseException:
    """Return the exception. ``rebuilt``: the earlier ones, by the id of their data."""
    rebuilt = {} if rebuilt is None else rebuilt
    if id(shipped) in rebuilt:
        return rebuilt[id(shipped)]
    data = shipped.data
    assert data is not None
    try:
        exc = _instance(shipped, data, rebuilt)
    except Exception:
        exc = _stand_in(shipped, data)
    rebuilt[id(shipped)] = exc
    # past any ``__setattr__`` of the class
    with contextlib.suppress(Exception):
        _set(exc, "__cause__", None if data.cause is None else _rebuild(data.cause, rebuilt))
        _set(exc, "__context__", None if data.context is None else _rebuild(data.context, rebuilt))
        _set(exc, "__suppress_context__", data.suppress_context)
        _set_notes(exc, data.notes)
    with contextlib.suppress(Exception):
        exc.with_traceback(build_traceback(data.frames))
    return exc


def _set(exc: BaseException, name: str, value: Any) -> None:
    vars(BaseException)[name].__set__(exc, value)


def _instance(
    shipped: ShippedError, data: ErrorData, rebuilt: dict[int, BaseException]
) -> BaseException:
    exc: Any
    if data.pickled is not None:
        exc = pickling.loads(data.pickled)
        for name, blob in data.lost:
            value = pickling.loads(blob)
            if name == _ARGS:
                _set(exc, name, value)
            else:
                vars(exc)[name] = value
    elif data.parts is not None:
        members = data.children
        children = None if members is None else [_rebuild(each, rebuilt) for each in members]
        exc = _from_parts(data.parts, children)
        if data.parts.altered and _text(exc) != shipped.message:
            _say(exc, shipped.message)
    else:
        raise LookupError(shipped.type_name)
    if not isinstance(exc, BaseException):
        raise TypeError(shipped.type_name)
    return exc


def _stand_in(shipped: ShippedError, data: ErrorData) -> NodeFailed:
    """Return a ``NodeFailed`` that is caught by the nearest base class that is known here."""
    name, told = shipped.type_name, data.traceback_text
    text = f"{name}: {shipped.message}" if shipped.message else name
    for blob in data.bases:
        with contextlib.suppress(Exception):
            base = pickling.loads(blob)
            cls = type("NodeFailed", (NodeFailed, base), {"__module__": NodeFailed.__module__})
            exc: NodeFailed = new_exception(cls, ())
            exc.args, exc.type_name, exc.traceback_text = (text, name, told), name, told
            if str(exc) == text:
                return exc
    return NodeFailed(text, name, told)


# --- taking apart --------------------------------------------------------------------------------


class _Seen:
    """The exceptions that were met while one exception is taken apart.

    Args:
        begun: Ids of those that are being taken apart: what refers to them is a circle.
        room: How many more exceptions may be taken along, in a list of one number.
    """

    def __init__(self, begun: Iterable[int] = (), room: list[int] | None = None) -> None:
        self.begun = set(begun)
        self.done: dict[int, ShippedError] = {}
        self.room = [_MOST] if room is None else room

    def takes(self, exc: BaseException) -> bool:
        """Whether what refers to an exception takes the exception along."""
        if id(exc) in self.done:
            return True
        return id(exc) not in self.begun and len(self.begun) <= _MAX_CHAIN and self.room[0] > 0


def _safely_apart(exc: BaseException, seen: _Seen, *, nested: bool) -> ErrorData:
    seen.begun.add(id(exc))
    seen.room[0] -= 1
    try:
        return _take_apart(exc, seen, nested=nested)
    except Exception:
        return ErrorData((), _traceback(exc), _here())
    finally:
        seen.begun.discard(id(exc))


def _take_apart(exc: BaseException, seen: _Seen, *, nested: bool) -> ErrorData:
    def linked(other: BaseException | None) -> ShippedError | None:
        return None if other is None or not seen.takes(other) else _shipped(other, seen)

    def within(other: BaseException) -> Any:
        """Reduce an exception that another one holds. It is pickled apart from the others."""
        apart = _Seen(seen.begun, seen.room)
        if not apart.takes(other):
            return Unsent, ("an exception", _type_name(other), _text(other), repr(_text(other)))
        return _rebuilt, (_shipped(other, apart),)

    dropped: list[str] = []
    members = _members(exc)
    pickled = parts = children = None
    lost: tuple[tuple[str, bytes], ...] = ()
    if members is not None:
        children = tuple(_shipped(member, seen) for member in members)
    else:
        pickled, lost = _own_pickle(exc)
    if pickled is None:
        parts = _parts_of(exc, dropped, within, group=members is not None)
    frames = read_frames(hide_machinery(exc.__traceback__))
    notes = [str(note) for note in getattr(exc, "__notes__", None) or ()]
    if dropped:
        notes.append(f"Could not be sent from the worker: {', '.join(dropped)}")
    return ErrorData(
        frames=frames,
        # the outermost text holds the whole chain already
        traceback_text="" if nested else _traceback(exc),
        where=_here(),
        notes=tuple(notes),
        pickled=pickled,
        lost=lost,
        parts=parts,
        bases=_bases(type(exc)),
        children=children,
        cause=linked(exc.__cause__),
        context=linked(exc.__context__),
        suppress_context=exc.__suppress_context__,
    )


def _shipped(exc: BaseException, seen: _Seen) -> ShippedError:
    """Return the data of an exception: the same object each time the exception is met."""
    shipped = seen.done.get(id(exc))
    if shipped is None:
        data = _safely_apart(exc, seen, nested=True)
        shipped = seen.done[id(exc)] = ShippedError(_type_name(exc), _text(exc), data)
    return shipped


def _rebuilt(shipped: ShippedError) -> BaseException:
    return _rebuild(shipped)


def _members(exc: BaseException) -> Sequence[BaseException] | None:
    """Return the exceptions of a group (built in from 3.11 on, a package before)."""
    if any(base.__name__ == "BaseExceptionGroup" for base in type(exc).__mro__):
        members: Sequence[BaseException] = exc.exceptions  # type: ignore[attr-defined]
        return members
    return None


def _own_pickle(exc: BaseException) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Return the exception's own pickle if an equal exception results from it, and the lost
    attributes.

    A class that says how it is pickled may leave out attributes that were set later.
    """
    try:
        blob = pickling.dumps(exc)
        back = pickling.loads(blob)
        says_how = _says_how(type(exc))
        same_args = bool(_args(back) == _args(exc))
        added = vars(exc).keys() - vars(back).keys() - {"__notes__"}
        same = (
            type(back) is type(exc)
            and (same_args or says_how)
            and (says_how or not added)
            and not vars(back).keys() - vars(exc).keys()
            and not _slots(exc).keys() - _slots(back).keys()
            and not _natives(exc).keys() - _natives(back).keys()
            and _text(back) == _text(exc)
        )
        lost = tuple((n, pickling.dumps(vars(exc)[n])) for n in sorted(added))
    except Exception:
        return None, ()
    if not same_args:
        with contextlib.suppress(Exception):
            lost = (*lost, (_ARGS, pickling.dumps(_args(exc))))
    return (blob, lost) if same else (None, ())


def _says_how(cls: type) -> bool:
    """Whether a class defines its own pickling, as pydantic's errors do."""
    for base in cls.__mro__:
        if "__reduce__" in base.__dict__ or "__reduce_ex__" in base.__dict__:
            return base.__module__ != "builtins"
    return False


def _parts_of(
    exc: BaseException,
    dropped: list[str],
    within: Callable[[BaseException], Any],
    *,
    group: bool,
) -> ErrorParts | None:
    altered = False

    def put(value: Any, told: str) -> bytes:
        nonlocal altered
        blob, unsent = dumps_field(value, told, within)
        if unsent:
            altered = True
            names = ", ".join(dict.fromkeys(unsent))
            whole = unsent[0] == _type_name(value) and len(unsent) == 1
            dropped.append(f"{told} ({names if whole else f'{_type_name(value)}: {names} in it'})")
        return blob

    try:
        cls, left = dumps_class(type(exc), within)
    except Exception:
        return None
    if left:
        dropped.append(f"class {type(exc).__qualname__} ({', '.join(dict.fromkeys(left))} in it)")
    own_args = (exc.message,) if group else _args(exc)  # type: ignore[attr-defined]
    args = tuple(put(value, f"argument {i}") for i, value in enumerate(own_args))
    hidden = {} if group else _natives(exc)
    own = {n: v for n, v in vars(exc).items() if n != "__notes__"}
    attributes = tuple(
        (name, put(value, f"attribute {name!r}"))
        for name, value in {**own, **hidden, **_slots(exc)}.items()
    )
    attributes = tuple(
        (name, blob)
        for name, blob in attributes
        if name != _OBJECT or name in own or len(blob) < _LARGE
    )
    return ErrorParts(cls, args, attributes, altered)


def _args(exc: BaseException) -> tuple[Any, ...]:
    """Return the arguments, also where the class has a property of that name."""
    args: tuple[Any, ...] = BaseException.args.__get__(exc)  # type: ignore[attr-defined]
    return args


def _slots(exc: BaseException) -> dict[str, Any]:
    """Return the values that the user's classes keep in slots."""
    found: dict[str, Any] = {}
    for base in type(exc).__mro__:
        if base.__module__ == "builtins":
            continue
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType):
                with contextlib.suppress(AttributeError):
                    found.setdefault(name, member.__get__(exc))
    return found


def _natives(exc: BaseException) -> dict[str, Any]:
    """Return the values that built-in base classes keep outside of ``__dict__``."""
    return {name: getattr(exc, name) for name in _NATIVE if _is_native(exc, name)}


def _is_native(exc: BaseException, name: str) -> bool:
    """Return whether ``name`` is an attribute of a built-in base that is set."""
    owner = _owner(type(exc), name)
    if owner is None or owner.__module__ != "builtins" or name in vars(exc):
        return False
    return getattr(exc, name, None) is not None


def _owner(cls: type, name: str) -> type | None:
    return next((base for base in cls.__mro__ if name in base.__dict__), None)


def _bases(cls: type) -> tuple[bytes, ...]:
    """Return the pickled base classes that say more than ``Exception``."""
    found = []
    for base in cls.__mro__[1:]:
        if base in (Exception, BaseException) or not issubclass(base, BaseException):
            continue
        with contextlib.suppress(Exception):
            found.append(pickling.dumps(base))
    return tuple(found)


def _here() -> str:
    return f"host {socket.gethostname()}, process {os.getpid()}"


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
        return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    except Exception:
        return f"{_type_name(exc)}: {_text(exc)}\n"


# --- putting together ----------------------------------------------------------------------------


def _from_parts(parts: ErrorParts, members: list[BaseException] | None) -> BaseException:
    cls = pickling.loads(parts.cls)
    args = tuple(map(pickling.loads, parts.args))
    exc: BaseException
    if members is not None:
        base = next(b for b in cls.__mro__ if b.__name__ == "BaseExceptionGroup")
        exc = base.__new__(cls, *args, members)
    else:
        exc = new_exception(cls, args)
        _set(exc, "args", args)
    for name, blob in parts.attributes:
        value = pickling.loads(blob)
        owner = _owner(cls, name)
        member = None if owner is None else vars(owner)[name]
        if owner is not None and owner.__module__ == "builtins":
            with contextlib.suppress(AttributeError, TypeError):
                setattr(exc, name, value)
        elif isinstance(member, MemberDescriptorType):
            member.__set__(exc, value)
        else:
            vars(exc)[name] = value
    return exc


def _say(exc: BaseException, text: str) -> None:
    """Have an exception say ``text``, whose class makes its text of what is left out."""
    cls: Any = type(exc)
    with contextlib.suppress(Exception):
        own = {
            "__slots__": (),
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__str__": lambda self: text,
        }
        exc.__class__ = type(cls)(cls.__name__, (cls,), own)


def _set_notes(exc: BaseException, notes: Sequence[str]) -> None:
    vars(exc).pop("__notes__", None)
    add_notes(exc, notes)


def add_notes(exc: BaseException, notes: Sequence[str]) -> None:
    """Append notes to an exception, also on Python 3.10."""
    # what add_note does from 3.11 on; before, nobody prints it but it can be read
    known = list(getattr(exc, "__notes__", None) or ())
    new = [note for note in notes if note not in known]
    if new:
        vars(exc)["__notes__"] = [*known, *new]
