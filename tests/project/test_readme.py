"""The README's two commands are lines to paste, and CI runs exactly these."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv && ")]


def test_there_are_two_commands_of_one_line_each() -> None:
    run, test = COMMANDS
    assert run.endswith(".venv/bin/python examples/agent.py")
    assert test.endswith(".venv/bin/python -m pytest")


def test_ci_runs_the_same_two_commands() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert [c for c in COMMANDS if f"'{c}'" not in script] == []


def test_the_commands_install_extras_that_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [extra for c in COMMANDS for extra in re.findall(r'"\.\[(\w+)\]"', c)]
    assert wanted == ["examples", "test"]
    assert [extra for extra in wanted if f"\n{extra} = [" not in project] == []
