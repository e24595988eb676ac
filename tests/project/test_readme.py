"""The README's two commands are lines to paste, and CI runs exactly these."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import LONG

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv && ")]


def test_there_are_two_commands_of_one_line_each() -> None:
    run, test = COMMANDS
    assert run.endswith(".venv/bin/python examples/agent.py")
    assert test.endswith(".venv/bin/python -m pytest -n 2")


def test_ci_runs_the_same_two_commands() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert [c for c in COMMANDS if f"'{c}'" not in script] == []


def test_the_commands_install_extras_that_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [extra for c in COMMANDS for extra in re.findall(r'"\.\[(\w+)\]"', c)]
    assert wanted == ["examples", "test"]
    assert [extra for extra in wanted if f"\n{extra} = [" not in project] == []


def test_ci_runs_the_tests_that_the_readme_leaves_out() -> None:
    """All but ``matrix`` and ``faults``, which CONTRIBUTING.md leaves for the day of a release."""
    options = re.search(r'"-m", "(.+)"\]', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert options
    left_out = {name.removeprefix("not ") for name in options[1].split(" and ")}
    run = set(re.findall(r"pytest -q -m (\w+)", (ROOT / ".ci/run").read_text(encoding="utf-8")))
    assert left_out - run == {"matrix", "faults"}


@pytest.mark.parametrize("file", LONG)
def test_the_long_tests_exist_and_leave_others_in_their_file(file: str) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    tests = set(re.findall(r"^(?:async )?def (test_\w+)", text, re.M))
    assert {name.partition("[")[0] for name in LONG[file]} - tests == set()
    assert tests - {name for name in LONG[file] if "[" not in name}  # the README's command has some
