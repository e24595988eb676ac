"""What mypy and pyright tell a user: nothing of correct code, and each mistake of the wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = Path(__file__).parent / "user_code"
Reported = set[tuple[str, int]]

LIBRARIES = ("langchain", "langchain_core", "langgraph", "pydantic", "ray", "cloudpickle")


def mypy(tmp_path: Path) -> Reported:
    """Return file and line of each error."""
    skipped = "".join(
        f"[mypy-{name}.*]\nfollow_imports = skip\nignore_missing_imports = true\n"
        for name in LIBRARIES
    )
    config = tmp_path / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = true\npython_version = 3.10\nmypy_path = {ROOT}\n"
        "explicit_package_bases = true\ncheck_untyped_defs = false\n"
        f"[mypy-distgraph.*,actors.*]\nfollow_imports = silent\n{skipped}"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(config)),
            *("--cache-dir", str(tmp_path / "cache"), "--no-error-summary"),
            *sorted(map(str, CODE.glob("*.py"))),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr)
    assert done.returncode in (0, 1), done.stderr
    found = re.findall(r"^\S*?(\w+\.py):(\d+): error", done.stdout, re.MULTILINE)
    return {(file, int(line)) for file, line in found}


def pyright(tmp_path: Path) -> Reported:
    """Return file and line of each error."""
    for file in CODE.glob("*.py"):
        shutil.copy(file, tmp_path)
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "pythonVersion": "3.10"}
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright"]
    try:
        started = subprocess.run([*command, "--version"], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("pyright cannot be started: Node.js or pyright itself cannot be had")
    if started.returncode:
        pytest.skip(f"pyright cannot be started: {started.stderr.decode()[-300:]}")
    done = subprocess.run(
        [*command, "--outputjson", "--project", str(config), "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)["generalDiagnostics"]
    for item in told:
        print(item["file"], item["range"]["start"]["line"] + 1, item["message"])
    return {
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
        for item in told
        if item["severity"] == "error"
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_type_checker_reports_every_mistake_and_nothing_else(
    checker: Callable[[Path], Reported], tmp_path: Path
) -> None:
    if find_spec(checker.__name__) is None:
        pytest.skip(f"{checker.__name__} is not installed: pip install 'distgraph[dev]'")
    lines = (CODE / "mistakes.py").read_text(encoding="utf-8").splitlines()
    wrong = {n for n, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert checker(tmp_path) == {("mistakes.py", line) for line in wrong}
