"""The example of a workflow runs as a script from a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    "flat.py": "a = 1\n",
    "deep.py": "if a:\n    for b in a:\n        pass\n",
    "one.py": "if a: b\n",
}


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_it_measures_asks_and_reports(backend, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    environment = {
        **os.environ,
        "DISTGRAPH_BACKEND": backend,
        "RAY_ADDRESS": "local",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "review_workflow.py"), str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    measured = [line.split()[1] for line in lines if line.startswith("measure ")]
    assert sorted(measured) == sorted(FILES)
    question = lines.index("question: 3 files measured. How many shall be named?")
    report = lines.index("deep.py: 2 branches, 3 lines")
    assert question < report
    assert lines[report + 1 : report + 3] == [
        "one.py: 1 branches, 1 lines",
        "flat.py: 0 branches, 1 lines",
    ]
    caller = re.search(r"the caller is process (\d+)", done.stdout)
    ran = set(re.findall(r"^  process (\d+) on", done.stdout, re.MULTILINE))
    assert caller is not None and (caller[1] in ran) is (backend == "local")
