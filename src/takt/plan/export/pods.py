"""The pod that runs one machine of a replica, for all manifests that have pods in them.

Fields are Kubernetes' (core/v1). Knows no kinds of object around a pod.
"""

from collections.abc import Mapping, Sequence

from .command import Command
from .routers import APP
from .servers import Server
from .settings import PORT

__all__ = [
    "OPTIONS_FILE",
    "Json",
    "answering",
    "container_of",
    "environment",
    "labels_of",
    "metadata",
    "pod_spec",
    "router_pod",
]

Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None
OPTIONS_FILE = "/etc/takt/options.yaml"
_STARTS_S = 3600  # most seconds that loading weights may take
_PROBE_S = 10


def metadata(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Json]:
    """Name and labels of an object."""
    return {"name": name, "labels": dict(labels)} if labels else {"name": name}


def labels_of(server: Server, app: str, rank: str = "0") -> dict[str, str]:
    """Labels of the pods of a pool; `rank` 0: those that answer requests."""
    role = server.pool.role
    return {APP: app, "takt.pool": server.name, "takt.role": role, "takt.rank": rank}


def pod_spec(
    server: Server, words: Sequence[str], env: Sequence[Json], options: str = ""
) -> dict[str, Json]:
    """The pod of one machine that runs `words`; `options`: name of the ConfigMap of its options file."""
    mounts: list[Json] = [{"name": "shm", "mountPath": "/dev/shm"}]
    volumes: list[Json] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    if options:
        folder = OPTIONS_FILE.rpartition("/")[0]
        mounts.append({"name": "options", "mountPath": folder})
        volumes.append({"name": "options", "configMap": {"name": options}})
    container: dict[str, Json] = {
        "name": "main",  # some stacks look for this name
        "image": server.image,
        "command": list(words),
        "env": list(env),
        "resources": {
            "requests": {server.resource: str(server.node_chips)},
            "limits": {server.resource: str(server.node_chips)},
        },
        "volumeMounts": mounts,
    }
    # Pools of several chips may ask for the same resource; the label tells their machines apart.
    return {
        "containers": [container],
        "nodeSelector": {"takt.chip": _label(server.pool.chip)},
        "volumes": volumes,
    }


def answering(spec: Mapping[str, Json]) -> dict[str, Json]:
    """The same pod with its port, and probes of its health."""
    container = container_of(spec)
    health: Json = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": _PROBE_S}
    first: Json = {
        "httpGet": {"path": "/health", "port": PORT},
        "periodSeconds": _PROBE_S,
        "failureThreshold": _STARTS_S // _PROBE_S,
    }
    ports: Json = [{"name": "http", "containerPort": PORT}]
    probed = {**container, "ports": ports, "startupProbe": first, "readinessProbe": health}
    return {**spec, "containers": [probed]}


def router_pod(app: str, image: str, command: Command) -> dict[str, Json]:
    """The pod of a router that asks the cluster for replicas."""
    container: dict[str, Json] = {
        "name": "router",
        "image": image,
        "command": list(command.container()),
        "env": environment("", command),
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": _PROBE_S},
    }
    return {"serviceAccountName": f"{app}-router", "containers": [container]}


def environment(repository: str, command: Command) -> list[Json]:
    """Variables that a command line uses, and what it needs beside them."""
    known: dict[str, Json] = {
        "MODEL": {"name": "MODEL", "value": repository},
        "PORT": {"name": "PORT", "value": str(PORT)},
        "HOST_IP": {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        "NAMESPACE": {
            "name": "NAMESPACE",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        },
    }
    used: list[Json] = [known[name] for name in command.variables if name in known]
    if "MODEL" in command.variables:
        token: Json = {"name": "hf-token", "key": "token", "optional": True}
        used.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}})
    values = Command(words=tuple(value for _, value in command.environment)).container()
    names = (name for name, _ in command.environment)
    return [*used, *({"name": n, "value": v} for n, v in zip(names, values, strict=True))]


def container_of(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """The one container of a pod."""
    containers = spec["containers"]
    assert isinstance(containers, list)
    container = containers[0]
    assert isinstance(container, dict)
    return container


def _label(text: str) -> str:
    """A label's value: letters, digits, dashes, dots and underscores, 63 at most."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in text)
    return kept[-63:].strip("-._") or "chip"
