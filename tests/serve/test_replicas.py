"""How many replicas there are: as given on the command line, or in a Serve config file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from actors import serve as ray_serve
from actors.serve import ReplicaOptions, _environment, app
from distgraph.cli import serve
from distgraph.serve.errors import ProjectError
from distgraph.serve.project import Project
from tests.serve.conftest import PROJECT


def parsed(*arguments: str) -> tuple[int, int]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    found: tuple[int, int] = parser.parse_args(list(arguments)).replicas
    return found


def test_a_number_is_fixed_and_two_are_bounds() -> None:
    assert parsed() == (1, 1)
    assert parsed("--replicas", "3") == (3, 3)
    assert parsed("--replicas", "2:8") == (2, 8)
    assert ReplicaOptions(3, 3).scale() == {"num_replicas": 3}
    assert [str(ReplicaOptions(*n)) for n in [(1, 1), (3, 3), (2, 8)]] == [
        "1 replica",
        "3 replicas",
        "2 to 8 replicas",
    ]
    scaled = ReplicaOptions(2, 8).scale()["autoscaling_config"]
    assert (scaled["min_replicas"], scaled["max_replicas"]) == (2, 8)


@pytest.mark.parametrize("given", ["0", "3:2", "many", "1:", "1:x", ":3"])
def test_what_is_no_number_of_replicas_is_refused(given: str) -> None:
    with pytest.raises(argparse.ArgumentError, match="MIN"):
        parsed("--replicas", given)


def test_a_serve_config_file_gives_what_serve_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_serve, "deploy", lambda project, file, settings, options: options)
    given = {"project": str(PROJECT / "langgraph.json"), "open_to_all": True, "version": "2"}
    assert app({**given, "replicas": 2}).scale() == {"num_replicas": 2}
    scale = {"min_replicas": 1, "max_replicas": 4}
    assert app({**given, "autoscaling": scale}).scale() == {"autoscaling_config": scale}
    with pytest.raises(ProjectError, match="replica unknown"):
        app({**given, "replica": 2})


def test_replicas_have_the_project_s_environment_and_run_the_application_on_their_own_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"
    for name in (loop, "A", "B"):
        monkeypatch.delenv(name, raising=False)
    project = Project(Path(), (), env={"A": "of the project", "B": "of the project"})
    monkeypatch.setenv("B", "of the process")
    monkeypatch.setenv("DISTGRAPH_WORKER_IDLE", "3")
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")  # of this process
    found = _environment(project)
    assert found["DISTGRAPH_WORKER_IDLE"] == "3"
    assert "DISTGRAPH_BACKEND" not in found
    assert (found[loop], found["A"], found["B"]) == ("0", "of the project", "of the process")
    monkeypatch.setenv(loop, "1")
    assert _environment(project)[loop] == "1"
