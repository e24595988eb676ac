"""What is published: metadata of the package, and the workflow that publishes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no tomllib")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_the_metadata_are_complete(project: dict[str, Any]) -> None:
    table = project["project"]
    assert {"Homepage", "Source", "Changelog"} <= set(table["urls"])
    assert all(url.startswith("https://") for url in table["urls"].values())
    assert {"license", "readme", "keywords", "classifiers", "authors", "description"} <= set(table)
    assert not [c for c in table["classifiers"] if c.startswith("License ::")]  # PEP 639


def test_only_the_job_that_publishes_may_ask_for_an_identity(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "pypi"
    assert jobs["publish"]["needs"] == "build"
    assert "permissions" not in jobs["build"]
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "secrets." not in text and "password" not in text


def test_only_tags_of_versions_are_published(workflow: dict[str, Any]) -> None:
    assert workflow[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}  # YAML's `on`
    steps = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert any("pyproject.toml" in step and "CHANGELOG.md" in step for step in steps)
    assert any("twine check --strict" in step for step in steps)


def test_the_source_distribution_has_what_deployments_need(project: dict[str, Any]) -> None:
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/Dockerfile", "/deploy", "/cluster.yaml"} <= set(included)
    assert [path for path in included if not (ROOT / path[1:]).exists()] == []
