"""Published schemas of the kinds that manifests may have: Kubernetes' own, and custom ones from their Go types."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

DATA = Path(__file__).parent / "data"
CORE = {
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Service": "io.k8s.api.core.v1.Service",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "Role": "io.k8s.api.rbac.v1.Role",
    "RoleBinding": "io.k8s.api.rbac.v1.RoleBinding",
    "HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
}


@cache
def definitions() -> dict[str, Any]:
    core = json.loads((DATA / "kubernetes-1.37.json").read_text())["$defs"]
    custom = json.loads((DATA / "custom-kinds.json").read_text())["$defs"]
    # Dynamo's operator fills in what these two lack.
    pod = copy.deepcopy(core["io.k8s.api.core.v1.PodSpec"])
    main = copy.deepcopy(core["io.k8s.api.core.v1.Container"])
    del pod["required"], main["required"]
    pod["properties"]["mainContainer"] = {"$ref": "#/$defs/dynamo.MainContainer"}
    return {**core, **custom, "dynamo.ExtraPodSpec": pod, "dynamo.MainContainer": main}


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions()})


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with an object by the schema of its kind; chart values have none and say what they are."""
    kind = document.get("kind", "ProductionStackValues")
    found = _validator(CORE.get(kind, kind)).iter_errors(document)
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in found]
