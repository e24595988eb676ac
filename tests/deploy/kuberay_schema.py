"""The part of KubeRay's API that manifests here may use: names and types of fields.

Source: the Go types of ``ray.io/v1`` in KubeRay's repository (``ray-operator/apis/ray/v1``,
``raycluster_types.go``, ``rayjob_types.go``, ``rayservice_types.go``), written down by hand from
several of its commits, not of one release. Fields of pods are written down from common use.
A field that is not listed here is refused, so a misspelt field fails. A field of KubeRay that a
manifest begins to use is added here.
"""

from __future__ import annotations

from typing import Any

__all__ = ("SCHEMAS",)

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
QUANTITY: Schema = {
    "anyOf": [
        {"type": "integer"},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i?)?$"},
    ]
}
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
KEY = fields({"name": STRING, "key": STRING, "optional": BOOLEAN}, "key")
ENV = fields(
    {
        "name": STRING,
        "value": STRING,
        "valueFrom": fields(
            {
                "secretKeyRef": KEY,
                "configMapKeyRef": KEY,
                "fieldRef": fields({"apiVersion": STRING, "fieldPath": STRING}, "fieldPath"),
            }
        ),
    },
    "name",
)
AMOUNTS: Schema = {"type": "object", "additionalProperties": QUANTITY}
PROBE = fields(
    {
        "exec": fields({"command": each(STRING)}),
        "httpGet": fields({"path": STRING, "port": {"type": ["integer", "string"]}}, "port"),
        "initialDelaySeconds": COUNT,
        "periodSeconds": COUNT,
        "timeoutSeconds": COUNT,
        "failureThreshold": COUNT,
    }
)
CONTAINER = fields(
    {
        "name": NAME,
        "image": STRING,
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "command": each(STRING),
        "args": each(STRING),
        "env": each(ENV),
        "ports": each(
            fields({"name": NAME, "containerPort": COUNT, "protocol": STRING}, "containerPort")
        ),
        "resources": fields({"requests": AMOUNTS, "limits": AMOUNTS}),
        "volumeMounts": each(
            fields(
                {"name": STRING, "mountPath": STRING, "subPath": STRING, "readOnly": BOOLEAN},
                "name",
                "mountPath",
            )
        ),
        "lifecycle": fields({"preStop": fields({"exec": fields({"command": each(STRING)})})}),
        "readinessProbe": PROBE,
        "livenessProbe": PROBE,
    },
    "name",
    "image",
)
POD = fields(
    {
        "metadata": METADATA,
        "spec": fields(
            {
                "containers": {**each(CONTAINER), "minItems": 1},
                "volumes": each({"type": "object", "required": ["name"]}),
                "serviceAccountName": STRING,
                "nodeSelector": STRINGS,
                "tolerations": each({"type": "object"}),
                "terminationGracePeriodSeconds": COUNT,
            },
            "containers",
        ),
    },
    "spec",
)
AUTOSCALER = fields(
    {
        "resources": fields({"requests": AMOUNTS, "limits": AMOUNTS}),
        "image": STRING,
        "imagePullPolicy": STRING,
        "env": each(ENV),
        "idleTimeoutSeconds": COUNT,
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
    }
)
HEAD = fields(
    {
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
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
        "rayClusterSpec": CLUSTER,
    }
)
SERVICE = fields(
    {
        "serveConfigV2": STRING,
        "rayClusterConfig": CLUSTER,
        "serveService": fields({"metadata": METADATA, "spec": {"type": "object"}}),
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
    )


SCHEMAS: dict[str, Schema] = {
    "RayCluster": _kind("RayCluster", CLUSTER),
    "RayJob": _kind("RayJob", JOB),
    "RayService": _kind("RayService", SERVICE),
}
"""The schema of a manifest, by its ``kind``."""
