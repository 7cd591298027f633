"""JSON schemas of the cluster files: the keys that they use, with the types that the tools ask for.

Written after the API reference of Kubernetes (batch/v1 Job, v1 Service) and the YAML reference of
SkyPilot; any other key is an error.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def record(required: Schema, **optional: Schema) -> Schema:
    """An object with these keys and no other."""
    keys = {**required, **optional}
    return {
        "type": "object",
        "properties": keys,
        "required": list(required),
        "additionalProperties": False,
    }


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values, "minProperties": 1}


RULE: Schema = {
    "oneOf": [
        record(
            {
                "action": {"enum": ["FailJob", "FailIndex", "Ignore", "Count"]},
                "onExitCodes": record(
                    {"operator": {"enum": ["In", "NotIn"]}, "values": listed(COUNT)}
                ),
            }
        ),
        record(
            {
                "action": {"enum": ["FailJob", "FailIndex", "Ignore", "Count"]},
                "onPodConditions": listed(record({"type": TEXT})),
            }
        ),
    ]
}
CONTAINER = record(
    {
        "name": NAME,
        "image": NAME,  # a placeholder without a registry
        "command": listed(TEXT),
        "args": listed(TEXT),
        "resources": record({"limits": record({"nvidia.com/gpu": COUNT})}),
        "volumeMounts": listed(record({"name": NAME, "mountPath": TEXT})),
        "env": listed(record({"name": TEXT, "value": TEXT})),
    },
    workingDir=TEXT,
    ports=listed(record({"containerPort": COUNT})),
)
VOLUME: Schema = {
    "oneOf": [
        record({"name": NAME, "persistentVolumeClaim": record({"claimName": NAME})}),
        record({"name": NAME, "emptyDir": record({"medium": {"const": "Memory"}})}),
    ]
}
POD = record(
    {
        "restartPolicy": {"enum": ["Never", "OnFailure"]},
        "terminationGracePeriodSeconds": COUNT,
        "containers": listed(CONTAINER),
        "volumes": listed(VOLUME),
    },
    subdomain=NAME,
)
JOB = record(
    {
        "apiVersion": {"const": "batch/v1"},
        "kind": {"const": "Job"},
        "metadata": record({"name": NAME}),
        "spec": record(
            {
                "completions": COUNT,
                "parallelism": COUNT,
                "backoffLimit": COUNT,
                "template": record({"spec": POD}),
                "podFailurePolicy": record({"rules": listed(RULE)}),
            },
            completionMode={"enum": ["Indexed", "NonIndexed"]},
        ),
    }
)
SERVICE = record(
    {
        "apiVersion": {"const": "v1"},
        "kind": {"const": "Service"},
        "metadata": record({"name": NAME}),
        "spec": record(
            {
                "clusterIP": {"const": "None"},
                "selector": mapping(TEXT),
                "publishNotReadyAddresses": {"type": "boolean"},
            }
        ),
    }
)
SKYPILOT = record(
    {
        "name": TEXT,
        "num_nodes": {"type": "integer", "minimum": 1},
        "workdir": TEXT,
        "resources": record(
            {"accelerators": {"type": "string", "pattern": r"^[\w-]+:\d+$"}}, disk_size=COUNT
        ),
        "envs": mapping(TEXT),
        "file_mounts": mapping(
            record({"name": NAME, "mode": {"enum": ["MOUNT", "COPY", "MOUNT_CACHED"]}})
        ),
        "setup": TEXT,
        "run": TEXT,
    }
)
