"""The manifests for KubeRay are what its operator accepts, and agree with image and package."""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy import resource_definitions
from tests.deploy.kuberay_schema import SCHEMAS

ROOT = Path(__file__).parents[2]
POD = ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec")
FILES = sorted((ROOT / "deploy" / "kuberay").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


DEFINED = resource_definitions.given()


def check(manifest: dict[str, Any]) -> None:
    """Check a manifest against what is known of KubeRay, and against its own definitions where
    ``KUBERAY_CRDS`` names their folder."""
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    if DEFINED:
        jsonschema.validate(manifest, DEFINED[manifest["kind"]])


def cluster(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    found = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    assert isinstance(found, dict)
    return found


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    parts = cluster(manifest)
    groups = [parts["headGroupSpec"], *parts["workerGroupSpecs"]]
    return [c for group in groups for c in group["template"]["spec"]["containers"]]


every = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_there_are_manifests_for_a_job_and_for_a_service() -> None:
    assert sorted(load(path)["kind"] for path in FILES) == ["RayJob", "RayService"]


@every
def test_a_manifest_fits_the_schema(path: Path) -> None:
    check(load(path))


def test_every_field_of_a_job_is_known() -> None:
    job = copy.deepcopy(load(ROOT / "deploy" / "kuberay" / "rayjob.yaml"))
    job["spec"] |= {
        "deletionStrategy": {
            "onSuccess": {"policy": "DeleteSelf"},
            "onFailure": {"policy": "DeleteNone"},
        },
        "submitterConfig": {"backoffLimit": 1},
        "managedBy": "kueue.x-k8s.io/multikueue",
        "schedule": "0 9 * * 1",
    }
    parts = job["spec"]["rayClusterSpec"]
    parts["headGroupSpec"]["headService"] = {"spec": {"type": "ClusterIP"}}
    parts["workerGroupSpecs"][0]["scaleStrategy"] = {"workersToDelete": ["pod"]}
    jsonschema.validate(job, SCHEMAS["RayJob"])


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("spec", "entrypiont"), "python x.py"),
        (("spec", "backoffLimit"), -1),
        (("spec", "submissionMode"), "Http"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 3),
        ((*POD, "containers"), None),
        ((*POD, "terminationGracePeriodSecond"), 60),
        ((*POD, "containers", 0, "resources", "limit"), {"cpu": "1"}),
        ((*POD, "containers", 0, "env", 0), {"value": "without a name"}),
        ((*POD, "containers", 0, "ports"), [{"name": "serve"}]),
        (("spec", "rayClusterSpec", "headGroupSpec", "headService"), {"spec": {"port": 1}}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "scaleStrategy"), {"workers": []}),
        (("spec", "deletionStrategy"), {"onSuccess": {"policy": "DeleteSelf"}}),
        (("spec", "managedBy"), "kuberay"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else "",
)
def test_a_wrong_manifest_does_not_fit(where: tuple[Any, ...], value: Any) -> None:
    wrong = copy.deepcopy(load(ROOT / "deploy" / "kuberay" / "rayjob.yaml"))
    place: Any = wrong
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


DEFINITION = """
spec:
  names: {kind: RayJob}
  versions:
  - name: v1alpha1
    served: true
    schema: {openAPIV3Schema: {type: object}}
  - name: v1
    served: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          metadata: {type: object}
          spec:
            type: object
            required: [entrypoint]
            properties:
              entrypoint: {type: string}
              port: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true,
                     properties: {a: {type: string}}}
"""


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"entrypoint": "x", "port": "http", "free": {"b": 1}}, True),
        ({"entrypoint": "x", "port": []}, False),
        ({"entrypoint": "x", "entrypiont": "y"}, False),
        ({}, False),
    ],
)
def test_a_resource_definition_is_a_schema(spec: dict[str, Any], fits: bool) -> None:
    schema = resource_definitions.schema_of(yaml.safe_load(DEFINITION))
    manifest = {"metadata": {"name": "n", "labels": {}}, "spec": spec}
    assert jsonschema.Draft202012Validator(schema).is_valid(manifest) is fits


@every
def test_image_ray_and_python_are_those_of_the_dockerfile(path: Path) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM rayproject/ray:(\S+)$", dockerfile, re.MULTILINE)
    manifest = load(path)
    assert {c["image"].partition(":")[2] for c in containers(manifest)} == {base}
    assert cluster(manifest)["rayVersion"] == base.partition("-")[0]
    assert yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))["docker"][
        "image"
    ] == (f"rayproject/ray:{base}")


@every
def test_no_node_runs_on_the_head_and_pods_have_limits(path: Path) -> None:
    manifest = load(path)
    assert cluster(manifest)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [
        c["name"]
        for c in containers(manifest)
        if c["resources"]["requests"] != c["resources"]["limits"]
    ] == []


@every
def test_the_autoscaler_has_room(path: Path) -> None:
    parts = cluster(load(path))
    assert parts["enableInTreeAutoscaling"] is True
    for group in parts["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@every
def test_what_a_user_must_decide_is_marked(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line.strip().startswith(("image:", "maxReplicas:"))]
    assert asked and all(line.endswith("# FILL IN") for line in asked)


def test_the_dockerfile_copies_what_exists_and_installs_extras_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        name
        for line in re.findall(r"^COPY --chown=ray:users (.+) \S+$", text, re.MULTILINE)
        for name in line.split()
    ]
    (project,) = re.findall(r"^ARG PROJECT=(\S+)$", text, re.MULTILINE)
    assert "distgraph" in copied and "actors" in copied
    names = [name.replace("${PROJECT}", project) for name in copied]
    assert [name for name in names if not (ROOT / name).exists()] == []
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [e for e in extras.split(",") if f"\n{e} = [" not in pyproject] == []


def test_the_serve_config_is_what_ray_serve_accepts_and_its_application_exists() -> None:
    pytest.importorskip("ray.serve", reason='needs "ray[serve]"')
    from ray.serve.schema import ServeDeploySchema

    import actors.serve

    manifest = load(ROOT / "deploy" / "kuberay" / "rayservice.yaml")
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, _, name = application.import_path.partition(":")
    assert getattr(importlib.import_module(module), name) is actors.serve.app
    assert set(application.args) <= actors.serve._ARGUMENTS
    (ports,) = (c["ports"] for c in containers(manifest) if c["name"] == "ray-head")
    assert {"name": "serve", "containerPort": 8000} in ports


def test_a_service_has_a_key_and_a_database_that_all_machines_reach() -> None:
    from distgraph.serve.access import KEY_VARIABLE

    for container in containers(load(ROOT / "deploy" / "kuberay" / "rayservice.yaml")):
        assert {KEY_VARIABLE, "DATABASE_URI"} <= {entry["name"] for entry in container["env"]}


def test_the_programs_of_the_manifests_are_in_the_image() -> None:
    command = load(ROOT / "deploy" / "kuberay" / "rayjob.yaml")["spec"]["entrypoint"].split()
    assert command[1].startswith("/home/ray/project/")
    assert (ROOT / "examples" / command[1].rpartition("/")[2]).is_file()
