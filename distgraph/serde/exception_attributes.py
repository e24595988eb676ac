"""Pickling of an exception's attributes: values that cannot be pickled become an ``Unsent``.

An exception may hold a lock, a connection or a generator. Its class and its message must reach the
caller nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import FunctionType, TracebackType
from typing import Any

from cloudpickle import cloudpickle as _cp

from distgraph._internal.tracebacks import hide_machinery
from distgraph.errors import Unsent
from distgraph.serde import pickling
from distgraph.serde.tracebacks import build_traceback, read_frames

__all__ = ("dumps_class", "dumps_field")

_MOST = 1000
"""Values of one field that may be left out before the whole field is."""

_LONGEST = 10_000
"""Characters that are kept of a text."""


class _Lenient(pickling.CodePickler):
    """Writes an ``Unsent`` in place of a value whose reduction raises."""

    field = ""
    unsent: list[str]
    ship: Callable[[BaseException], Any]

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return self.ship(obj)
        cls = type(obj)
        try:
            if isinstance(obj, Future) and cls.__module__ != "asyncio" and obj.done():
                return _reduce_future(obj)
            if cls is TracebackType:
                return build_traceback, (read_frames(hide_machinery(obj)),)
            reduced = super().reducer_override(obj)
            if reduced is not NotImplemented or isinstance(obj, (type, FunctionType)):
                return reduced
            if cls in self.dispatch_table:
                return self.dispatch_table[cls](obj)
            return obj.__reduce_ex__(pickling.PROTOCOL)
        except (Exception, SystemExit):
            if isinstance(obj, type):
                return self.class_in_pieces(obj)
            return self.left_out(obj)

    def class_in_pieces(self, cls: type) -> Any:
        return self.left_out(cls)

    def left_out(self, obj: Any) -> Any:
        self.unsent.append(_type_name(obj))
        if len(self.unsent) > _MOST:
            raise ValueError("most of it cannot be pickled")
        return Unsent, unsent_of(obj, self.field)


class _LenientCode(_Lenient):
    pass


class _LenientData(_Lenient, pickling._DataPickler):
    def class_in_pieces(self, cls: type) -> Any:
        blob = _run(_LenientCode, cls, self.field, self.unsent, self.ship)
        return pickling._known_class, (_cp._get_or_create_tracker_id(cls), blob)


def dumps_field(
    value: Any, field: str, ship: Callable[[BaseException], Any]
) -> tuple[bytes, list[str]]:
    """Pickle a value that an exception holds.

    Args:
        value: The value.
        field: What the exception calls it, such as ``attribute 'response'``.
        ship: Reduces exceptions within it, as ``__reduce__`` does.

    Returns:
        The pickle, and the types of what was left out of it.
    """
    try:
        blob = pickling.dumps_data(value)
        pickling.loads(blob)
        return blob, []
    except Exception:
        pass
    unsent: list[str] = []
    try:
        blob = _run(_LenientData, value, field, unsent, ship)
        pickling.loads(blob)
    except Exception:
        return pickling.dumps_data(Unsent(*unsent_of(value, field))), [_type_name(value)]
    return blob, unsent


def dumps_class(cls: type, ship: Callable[[BaseException], Any]) -> tuple[bytes, list[str]]:
    """Pickle an exception's class: by name, or by value without what cannot be pickled of it.

    Raises:
        Exception: it cannot be pickled at all.
    """
    try:
        return pickling.dumps_data(cls), []
    except Exception:
        pass
    unsent: list[str] = []
    blob = _run(_LenientData, cls, f"class {cls.__qualname__}", unsent, ship)
    pickling.loads(blob)
    return blob, unsent


def unsent_of(value: Any, field: str) -> tuple[str, str, str, str]:
    """Return the arguments of the ``Unsent`` that replaces a value."""
    return field, _type_name(value), _text(str, value), _text(repr, value)


def _run(
    pickler: type[_Lenient], obj: Any, field: str, unsent: list[str], ship: Callable[..., Any]
) -> bytes:
    def make(file: Any, protocol: int) -> _Lenient:
        made = pickler(file, protocol)
        made.field, made.unsent, made.ship = field, unsent, ship
        return made

    return pickling._run(make, obj)


def _reduce_future(future: Future[Any]) -> Any:
    """Reduce a future that is done, as tenacity's ``RetryError`` has one, with its attributes."""
    error = None if future.cancelled() else future.exception()
    value = None if error is not None or future.cancelled() else future.result()
    own = {n: v for n, v in vars(future).items() if n not in vars(Future())}
    return _future, (type(future), value, error, future.cancelled(), own)


def _future(
    cls: Any, value: Any, error: BaseException | None, cancelled: bool, own: dict[str, Any]
) -> Any:
    future = cls.__new__(cls)
    Future.__init__(future)
    if cancelled:
        future.cancel()
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
    vars(future).update(own)
    return future


def _text(how: Callable[[Any], str], value: Any) -> str:
    try:
        return str(how(value))[:_LONGEST]
    except Exception as error:
        return f"<{how.__name__}() of it failed: {type(error).__name__}>"


def _type_name(value: Any) -> str:
    cls = type(value)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
