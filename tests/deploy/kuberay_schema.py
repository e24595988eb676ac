"""KubeRay's API of clusters, jobs and services: names and types of all fields of a ``spec``.

Source: KubeRay's Go types of ``ray.io/v1`` (``ray-operator/apis/ray/v1``: ``raycluster_types.go``
of commit 026f143, ``rayjob_types.go`` of 0057210, ``rayservice_types.go`` of 0074129), and the
resource definition of ``RayService`` of commit 02a80a6
(``helm-chart/kuberay-operator/crds/ray.io_rayservices.yaml``): its autoscaler, the fields of the
service, and what is required. Where versions differ, the stricter one holds. What Kubernetes
defines, such as pods, comes from the models of its own client.
A field that is not listed here is refused, so a misspelt field fails, and so does one that only
newer versions of KubeRay have. No package carries KubeRay's own definitions, which are of 3 MB:
where ``KUBERAY_CRDS`` names a folder with them, the tests check the manifests against them, too.
"""

from __future__ import annotations

from typing import Any

from tests.deploy.kubernetes_schema import DEFINITIONS, reference

__all__ = ("SCHEMAS",)

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}


def fields(properties: Schema, *required: str) -> Schema:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def each(item: Schema) -> Schema:
    return {"type": "array", "items": item}


METADATA = fields({"name": NAME, "namespace": NAME, "labels": STRINGS, "annotations": STRINGS})
POD = reference("V1PodTemplateSpec")
RESOURCES = reference("V1ResourceRequirements")
AUTOSCALER = fields(
    {
        "resources": RESOURCES,
        "image": STRING,
        "imagePullPolicy": STRING,
        "env": each(reference("V1EnvVar")),
        "envFrom": each(reference("V1EnvFromSource")),
        "volumeMounts": each(reference("V1VolumeMount")),
        "securityContext": reference("V1SecurityContext"),
        "version": {"enum": ["v1", "v2"]},
        "idleTimeoutSeconds": COUNT,
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
    }
)
HEAD = fields(
    {
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "headService": reference("V1Service"),
        "enableIngress": BOOLEAN,
        "rayStartParams": STRINGS,
        "template": POD,
    },
    "rayStartParams",
    "template",
)
WORKERS = fields(
    {
        "groupName": STRING,
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "numOfHosts": COUNT,
        "rayStartParams": STRINGS,
        "template": POD,
        "scaleStrategy": fields(
            {"workersToDelete": each(STRING), "multihostReplicasToDelete": each(STRING)}
        ),
    },
    "groupName",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
)
CLUSTER = fields(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "enableInTreeAutoscaling": BOOLEAN,
        "autoscalerOptions": AUTOSCALER,
        "headServiceAnnotations": STRINGS,
        "suspend": BOOLEAN,
        "headGroupSpec": HEAD,
        "workerGroupSpecs": each(WORKERS),
    },
    "headGroupSpec",
)
DELETION = fields(
    {"policy": {"enum": ["DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone"]}}, "policy"
)
JOB = fields(
    {
        "entrypoint": STRING,
        "runtimeEnvYAML": STRING,
        "jobId": STRING,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        "metadata": STRINGS,
        "clusterSelector": STRINGS,
        "backoffLimit": COUNT,
        "activeDeadlineSeconds": {**COUNT, "minimum": 1},
        "shutdownAfterJobFinishes": BOOLEAN,
        "ttlSecondsAfterFinished": COUNT,
        "suspend": BOOLEAN,
        "entrypointNumCpus": {"type": "number"},
        "entrypointNumGpus": {"type": "number"},
        "entrypointResources": STRING,
        "submitterPodTemplate": POD,
        "submitterConfig": fields({"backoffLimit": COUNT}),
        "managedBy": {"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
        "deletionStrategy": fields(
            {"onSuccess": DELETION, "onFailure": DELETION}, "onSuccess", "onFailure"
        ),
        "schedule": STRING,
        "rayClusterSpec": CLUSTER,
    }
)
SERVICE = fields(
    {
        "serveConfigV2": STRING,
        "rayClusterConfig": CLUSTER,
        "serveService": reference("V1Service"),
        "excludeHeadPodFromServeSvc": BOOLEAN,
        "serviceUnhealthySecondThreshold": COUNT,
        "deploymentUnhealthySecondThreshold": COUNT,
    },
    "rayClusterConfig",
)


def _kind(kind: str, spec: Schema) -> Schema:
    return fields(
        {
            "apiVersion": {"const": "ray.io/v1"},
            "kind": {"const": kind},
            "metadata": METADATA,
            "spec": spec,
        },
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ) | {"$defs": DEFINITIONS}


SCHEMAS: dict[str, Schema] = {
    "RayCluster": _kind("RayCluster", CLUSTER),
    "RayJob": _kind("RayJob", JOB),
    "RayService": _kind("RayService", SERVICE),
}
"""The schema of a manifest, by its ``kind``."""
