"""``cluster.yaml`` is what ``ray up`` accepts."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_ray_accepts_it_as_ray_up_reads_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == set(config["available_node_types"])
    assert prepared["available_node_types"]["head"]["min_workers"] == 0


def test_ray_s_schema_refuses_a_misspelt_key(config: dict[str, Any]) -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    misspelt = prepare_config(copy.deepcopy(config)) | {"setup_command": []}
    with pytest.raises(jsonschema.ValidationError, match="setup_command"):
        validate_config(misspelt)


def test_the_checkout_is_mounted_and_installed_on_head_and_workers(config: dict[str, Any]) -> None:
    (target,) = config["file_mounts"]
    assert config["file_mounts"][target] == "."
    # setup_commands run on the head and on every worker
    assert any(f'pip install --quiet "{target}[examples]"' == c for c in config["setup_commands"])


def test_workers_join_the_head_and_the_head_autoscales(config: dict[str, Any]) -> None:
    (head,) = (c for c in config["head_start_ray_commands"] if "ray start" in c)
    (worker,) = (c for c in config["worker_start_ray_commands"] if "ray start" in c)
    assert "--head" in head and "--autoscaling-config" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker and "--port=6379" in head


def test_the_image_has_a_python_that_the_package_supports(config: dict[str, Any]) -> None:
    image = config["docker"]["image"]
    match = re.fullmatch(r"rayproject/ray:(\d+)\.(\d+)\.\d+-py3(\d+)", image)
    assert match, image
    major, minor, python = map(int, match.groups())
    assert (major, minor) >= (2, 60)
    assert 10 <= python <= 13


def test_what_a_user_must_decide_is_marked() -> None:
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    for key in ("region:", "availability_zone:", "InstanceType: m6i.2xlarge", "max_workers: 8"):
        lines = [line for line in text.splitlines() if line.strip().startswith(key)]
        assert lines and all("FILL IN" in line for line in lines), key


@pytest.mark.parametrize("file", ["cluster.yaml", "docs/deploy/ray-up.md"])
def test_programs_that_ray_exec_starts_join_the_cluster(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    programs = re.findall(r"ray exec cluster\.yaml '(.*python .*)'", text)
    assert programs
    assert [line for line in programs if not line.startswith("RAY_ADDRESS=auto python ")] == []
