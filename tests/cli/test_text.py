"""Text of the command line: tables, ages, amounts, help, and wrong usage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distgraph.cli import COMMANDS, codes, main
from distgraph.cli.runs import lines
from distgraph.cli.text import age, amount, table
from distgraph.runs import RunInfo

ROOT = Path(__file__).parents[2]


def test_a_table_has_columns_as_wide_as_their_longest_cell() -> None:
    assert table(("run", "x"), [("1", "long"), ("second", "")]) == [
        "run     x",
        "1       long",
        "second",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")],
)
def test_an_age_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (20 << 20, "20.0 MiB"),
        (3 << 40, "3072.0 GiB"),
    ],
)
def test_an_amount_is_in_its_largest_unit(size: int, text: str) -> None:
    assert amount(size) == text


def test_a_run_is_a_row() -> None:
    ended = RunInfo("r1", "success", "agent", None, 100.0, "host", 7, False, last=9, oldest=4)
    empty = RunInfo("r2", "pending", "agent", "t", 190.0, "host", 7, True, last=0, oldest=1)
    assert lines([ended, empty], now=200.0) == [
        "run  status   graph  thread  started    events  from    detached",
        "r1   success  agent  -       1 min ago  4-9     host/7  no",
        "r2   pending  agent  t       10 s ago   -       host/7  yes",
    ]


def test_help_names_every_command_and_all_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == codes.OK
    shown = " ".join(capsys.readouterr().out.split())
    assert [name for name in COMMANDS if name not in shown] == []
    assert codes.TEXT in shown


@pytest.mark.parametrize(
    "arguments",
    [[], ["rnus"], ["watch"], ["runs", "--status", "done"], ["cancel", "r", "--wait", "x"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == codes.USAGE


def test_help_imports_no_ray() -> None:
    code = (
        "import sys; from distgraph.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'ray', 'rich', 'langchain_core'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
