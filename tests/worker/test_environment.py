"""Which environment variables of a program its workers have, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distgraph.contract.surroundings import ProcessSettings
from distgraph.worker import environment, process_settings
from distgraph.worker.environment import give, set_by_program

KEY, OTHER = "PROGRAM_API_KEY", "PROGRAM_MODE"


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has just begun, and was given nothing."""
    for name in (KEY, OTHER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment, "_began", dict(os.environ._data))  # type: ignore[attr-defined]
    monkeypatch.setattr(environment, "_given", {})
    monkeypatch.setattr(process_settings, "_applied", ProcessSettings())
    monkeypatch.setattr(process_settings, "_captured", ProcessSettings())


def test_what_a_program_sets_changes_and_removes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment._began, b"PROGRAM_MODE", b"old")
    monkeypatch.setitem(environment._began, b"PROGRAM_GONE", b"1")
    monkeypatch.setenv(OTHER, "new")
    monkeypatch.setenv(KEY, "k\udce9")  # a byte that is no UTF-8
    assert set_by_program() == (
        (KEY, "k\udce9"),
        ("PROGRAM_GONE", None),
        (OTHER, "new"),
    )
    monkeypatch.delenv(KEY)
    assert set_by_program() == (("PROGRAM_GONE", None), (OTHER, "new"))


@pytest.mark.parametrize(
    "name",
    [
        "CUDA_VISIBLE_DEVICES",
        "DISTGRAPH_BACKEND",
        "HOME",
        "LD_PRELOAD",
        "MPLBACKEND",
        "NEURON_RT_VISIBLE_CORES",
        "PATH",
        "PYTEST_CURRENT_TEST",
        "PYTHONPATH",
        "RAY_ADDRESS",
    ],
)
def test_what_describes_a_process_or_a_machine_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "other")
    assert set_by_program() == ()


def test_a_worker_has_the_variables_until_a_later_run_has_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(OTHER, "of the worker")
    assert give([(KEY, "1"), (OTHER, None)])
    assert (os.environ[KEY], os.environ.get(OTHER)) == ("1", None)
    assert not give([(KEY, "1"), (OTHER, None)])
    assert give([(KEY, "2")])
    assert (os.environ[KEY], os.environ[OTHER]) == ("2", "of the worker")
    assert give([])
    assert (os.environ.get(KEY), os.environ[OTHER]) == (None, "of the worker")


def test_a_variable_of_the_worker_s_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OTHER, "of the runtime_env")
    assert give([(KEY, "1"), (OTHER, "2")], kept={OTHER})
    assert (os.environ[KEY], os.environ[OTHER]) == ("1", "of the runtime_env")
    give([])


def test_the_latest_settings_count_for_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1, 9))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    before = process_settings.capture()
    monkeypatch.setenv(KEY, "1")
    first = process_settings.capture()
    assert process_settings.capture() is first
    monkeypatch.setenv(KEY, "2")
    second = process_settings.capture()
    monkeypatch.delenv(KEY)
    last = process_settings.capture()
    assert first is not None and second is not None and last is not None
    assert before is None or KEY not in dict(before.environment)

    process_settings.apply(second)
    process_settings.apply(first)  # of a run that began before
    assert os.environ[KEY] == "2"
    assert process_settings.are_applied(first)
    process_settings.apply(last)
    assert KEY not in os.environ


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"python: a title\0\0", b"A=1\0tle\0"])
def test_an_environment_that_was_written_over_does_not_count(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "environ"
    assert environment._of(file) == os.environ._data  # type: ignore[attr-defined]
    file.write_bytes(content)
    assert environment._of(file) == os.environ._data  # type: ignore[attr-defined]


def test_the_environment_at_the_start_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_RAYLET_PID", raising=False)
    file = tmp_path / "environ"
    file.write_bytes(b"A=1\0B=x=y\0EMPTY=\0")
    assert environment._of(file) == {b"A": b"1", b"B": b"x=y", b"EMPTY": b""}
    monkeypatch.setenv("RAY_RAYLET_PID", "7")
    assert environment._of(file) == os.environ._data  # type: ignore[attr-defined]
