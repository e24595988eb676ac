"""With ``-n 2`` (pytest-xdist), one process runs the tests on Ray, and one the files beside it.

The tests on Ray share the Ray of their process. Only one process has one: two would have more CPUs
than the machine. The groups of ``--dist loadgroup`` are not used: pytest-xdist 3.8 puts a group
into a private attribute of a test, which pytest 9 does not have any more.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_LIST = "tests_on_ray"
"""The key, in the input of a process, of the file to which it writes the tests that need Ray."""

_path = pytest.StashKey[Path]()


class _OnRayOrByFile(LoadScopeScheduling):
    """One unit of work has all tests on Ray; each other unit has the remaining tests of a file."""

    _on_ray: frozenset[str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._on_ray is None:  # asked for the first time once all processes have collected
            self._on_ray = frozenset(json.loads(self.config.stash[_path].read_text("utf-8")))
        return "tests on Ray" if nodeid in self._on_ray else nodeid.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="distgraph-tests-")
        config.add_cleanup(folder.cleanup)
        config.stash[_path] = Path(folder.name, "on_ray.json")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[_LIST] = str(node.config.stash[_path])


@pytest.hookimpl(trylast=True)  # after pytest has deselected what ``-m`` leaves out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    given = getattr(config, "workerinput", {})
    if given.get("workerid") == "gw0":  # all processes collect the same tests
        on_ray = [item.nodeid for item in items if item.get_closest_marker("ray")]
        Path(given[_LIST]).write_text(json.dumps(on_ray), "utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _OnRayOrByFile(config, log) if config.getoption("dist") == "load" else None
