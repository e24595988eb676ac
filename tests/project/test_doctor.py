"""``python -m distgraph doctor``: what it names, with which remedy, and its exit code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from distgraph import doctor
from distgraph.__main__ import main
from distgraph.doctor import Machine

ROOT = Path(__file__).parents[2]
HERE = {"Python": "3.11.7", "ray": "2.60.0", "distgraph": "0.1.0", "langgraph": "1.2.22"}


def test_machines_with_the_same_versions_fit() -> None:
    more = {**HERE, "pydantic": "2.7"}
    assert doctor.problems(HERE, [Machine("a", versions=HERE), Machine("b", versions=more)]) == []
    assert doctor.verdict([]) == ["Everything fits."]


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (
            {**HERE, "distgraph": "0.0.9"},
            "a has distgraph 0.0.9, this process has 0.1.0: run `pip install distgraph==0.1.0` "
            "there",
        ),
        (
            {k: v for k, v in HERE.items() if k != "distgraph"},
            "a has no distgraph, this process has 0.1.0: run `pip install distgraph==0.1.0` there",
        ),
        (
            {**HERE, "Python": "3.12.1"},
            "a has Python 3.12.1, this process has 3.11.7: install Python 3.11.7 there, or run the "
            "program with Python 3.12.1",
        ),
        (
            {k: v for k, v in HERE.items() if k != "langgraph"},
            "a lacks packages that this process has: run `pip install langgraph==1.2.22` there, or "
            "ship them with runtime_env",
        ),
    ],
    ids=["another version", "none", "another Python", "a package of nodes"],
)
def test_what_does_not_fit_is_named_with_its_remedy(versions: dict[str, str], told: str) -> None:
    machines = [Machine("a", versions=versions), Machine("b", versions=HERE)]
    assert doctor.problems(HERE, machines) == [told]
    assert doctor.verdict([told]) == ["1 problem:", f"  {told}"]


def test_a_machine_that_does_not_answer_is_named() -> None:
    assert doctor.problems(HERE, [Machine("a", error="no worker")]) == [
        "a does not answer: no worker"
    ]


def test_machines_are_lines_of_a_table() -> None:
    machines = [
        Machine("first (10.0.0.1)", {"CPU": 4.0}, HERE),
        Machine("b", {"CPU": 8.0, "GPU": 2.0}, {}, "no worker"),
    ]
    assert doctor.table(machines) == [
        "  machine           CPUs  GPUs  Python  Ray     distgraph",
        "  first (10.0.0.1)  4     0     3.11.7  2.60.0  0.1.0",
        "  b                 8     2     -       -       -",
    ]


def test_an_extra_that_is_missing_comes_with_the_command_that_installs_it() -> None:
    lines = doctor.extras({"langchain-core": "1.8.3", "langgraph": "1.2.22"})
    assert lines[:2] == [
        "  langchain: langchain-core 1.8.3",
        "  agents: not installed (pip install 'distgraph[agents]')",
    ]


def test_every_extra_of_users_is_shown() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    for_developers = {"examples", "test", "conformance", "ecosystem", "docs", "dev"}
    names = re.findall(r"^(\w+) = \[", section, re.MULTILINE)
    assert set(doctor.EXTRAS) == set(names) - for_developers


def test_only_the_calling_process_needs_the_package_of_the_live_view() -> None:
    here = {**HERE, "rich": "14.0"}
    assert doctor.problems(here, [Machine("b", versions=HERE)]) == []


def test_the_command_line_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doktor"])
    assert ended.value.code == 2
    assert "choose from" in capsys.readouterr().err


@pytest.mark.ray
def test_a_cluster_that_fits_is_shown_and_the_exit_code_is_0(
    ray_session: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "a local Ray: 1 machine, 2 CPUs" in shown
    assert [line for line in shown if "there and back" in line] != []
    assert shown[-1] == "Everything fits."


def test_a_cluster_that_is_not_there_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors import doctor as on_ray
    from distgraph.errors import UnsupportedClusterError

    def refuse() -> None:
        raise UnsupportedClusterError("there is no Ray cluster at RAY_ADDRESS=x:1")

    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setattr(on_ray, "ensure_ray", refuse)
    assert main(["doctor", "--address", "x:1"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "1 problem:",
        "  there is no Ray cluster at RAY_ADDRESS=x:1",
    ]


def test_a_cluster_without_a_cpu_ends_with_1_and_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors import doctor as on_ray

    def wait_in_vain() -> tuple[float, float]:
        raise TimeoutError("step timed out")

    head = Machine("head", resources={"CPU": 0}, versions=doctor.installed())
    monkeypatch.setattr(on_ray, "ensure_ray", lambda: None)
    monkeypatch.setattr(on_ray, "ask_machines", lambda versions: [head])
    monkeypatch.setattr(on_ray, "round_trips", wait_in_vain)
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert main(["doctor", "--address", "h:6379"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "no machine has a CPU: one node waits 120 s for a machine to join" in shown
    assert shown[-1] == (
        "  one node did not run within 120 s, because no machine has a CPU: add a machine with "
        "`ray start --address=h:6379`, or end other programs of the cluster"
    )
