"""What a worker takes over from the caller's process: limits of the interpreter, logging."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from distgraph.contract.surroundings import ProcessSettings
from distgraph.worker import process_settings
from distgraph.worker.process_settings import apply, capture

APP, OTHER = "settings_of_a_test", "settings_of_a_library"


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process has what it had before, and nothing was applied to it yet."""
    root, limit, field = logging.root, sys.getrecursionlimit(), csv.field_size_limit()
    kept = root.level, list(root.handlers)
    for name, empty in (
        ("_applied", ProcessSettings()),
        ("_captured", ProcessSettings()),
        ("_levels", {}),
        ("_handlers", {}),
    ):
        monkeypatch.setattr(process_settings, name, empty)
    root.handlers = []
    root.setLevel(logging.WARNING)
    yield
    root.setLevel(kept[0])
    root.handlers = kept[1]
    for name in (APP, OTHER):
        _new(logging.getLogger(name))
    logging.disable(logging.NOTSET)
    sys.setrecursionlimit(limit)
    csv.field_size_limit(field)


def _new(logger: logging.Logger) -> None:
    logger.setLevel(logging.WARNING if logger is logging.root else logging.NOTSET)
    logger.handlers, logger.propagate = [], True


def _configure(**options: Any) -> None:
    logging.root.handlers = []  # those of pytest
    logging.basicConfig(**options)


def _elsewhere() -> ProcessSettings:
    """Return the settings, and set the loggers back to those of a new process."""
    found = capture()
    assert found is not None
    for logger in (logging.root, logging.getLogger(APP)):
        _new(logger)
    logging.disable(logging.NOTSET)
    return found


def _of(found: ProcessSettings | None) -> list[str]:
    return [] if found is None else [logger.name for logger in found.loggers]


def test_levels_and_formats_of_the_caller_are_those_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _configure(level=logging.INFO, format="%(levelname)s|%(name)s|%(message)s")
    logging.getLogger(APP).setLevel(logging.DEBUG)
    apply(_elsewhere())

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    logging.getLogger(APP).debug("found %d", 3)
    logging.getLogger(OTHER).info("seen")
    logging.getLogger(OTHER).debug("not seen")
    assert shown.getvalue() == f"DEBUG|{APP}|found 3\nINFO|{OTHER}|seen\n"


def test_a_logger_with_a_handler_of_its_own_writes_each_record_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _configure(level=logging.INFO, stream=sys.stderr)
    app = logging.getLogger(APP)
    app.addHandler(logging.StreamHandler(sys.stdout))
    app.propagate = False
    apply(_elsewhere())

    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    app.info("once")
    assert (out.getvalue(), err.getvalue()) == ("once\n", "")


def test_a_later_run_brings_what_the_caller_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    _configure(level=logging.INFO, format="first %(message)s")
    first = _elsewhere()
    _configure(level=logging.ERROR, format="second %(message)s")
    logging.disable(logging.INFO)
    second = _elsewhere()
    apply(first)
    apply(second)

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    logging.warning("hidden")
    logging.error("shown")
    assert shown.getvalue() == "second shown\n"
    assert logging.root.manager.disable == logging.INFO
    assert len(logging.root.handlers) == 1


def test_a_configuration_of_the_worker_s_own_stays() -> None:
    _configure(level=logging.INFO)
    given = _elsewhere()
    own = logging.StreamHandler(io.StringIO())
    logging.root.addHandler(own)
    logging.root.setLevel(logging.DEBUG)
    apply(given)
    assert (logging.root.handlers, logging.root.level) == ([own], logging.DEBUG)


def test_loggers_of_ray_and_distgraph_are_left_to_each_process() -> None:
    before = _of(capture())
    kept = logging.getLogger("ray").level, logging.getLogger("distgraph").level
    logging.getLogger("ray.tests").setLevel(logging.DEBUG)
    logging.getLogger("distgraph.tests").setLevel(logging.DEBUG)
    assert _of(capture()) == before
    assert (logging.getLogger("ray").level, logging.getLogger("distgraph").level) == kept


def test_limits_are_raised_and_never_lowered() -> None:
    known = sys.getrecursionlimit()
    sys.setrecursionlimit(known + 500)
    csv.field_size_limit(1_000_000)
    given = capture()
    assert given is not None
    sys.setrecursionlimit(known)
    csv.field_size_limit(131_072)

    apply(given)
    assert (sys.getrecursionlimit(), csv.field_size_limit()) == (known + 500, 1_000_000)

    apply(given._replace(recursion_limit=known, csv_field=10, since=given.since + 1))
    assert (sys.getrecursionlimit(), csv.field_size_limit()) == (known + 500, 1_000_000)


@pytest.mark.skipif(
    not hasattr(sys, "set_int_max_str_digits"), reason="this Python has no limit of digits"
)
def test_a_limit_of_digits_that_was_switched_off_is_off_on_the_worker() -> None:
    known = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        given = capture()
        assert given is not None
        sys.set_int_max_str_digits(known)
        apply(given)
        assert sys.get_int_max_str_digits() == 0
        assert len(str(10**5000)) == 5001
    finally:
        sys.set_int_max_str_digits(known)
