"""Manifests with nothing but Kubernetes, and LeaderWorkerSet for replicas of several machines.

A pool is a Deployment (or LeaderWorkerSet) with a Service; a router of the engine stands before all pools and finds their
pods by labels; Scaling adds a HorizontalPodAutoscaler. Knows no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from takt.errors import UsageError

from .command import Command
from .pods import (
    OPTIONS_FILE,
    Json,
    answering,
    environment,
    labels_of,
    metadata,
    pod_spec,
    router_pod,
)
from .routers import APP, cluster_router
from .servers import Server, image_of
from .settings import PORT, Settings
from .sglang import sglang_command
from .trtllm import disaggregated_options, options_of, trtllm_command
from .vllm import vllm_command
from .yaml_text import yaml_of

__all__ = ["Scaling", "command_of", "no_manifest", "pool_objects", "router_objects"]

# Requests that a server is working on, as it reports them; an adapter makes them metrics of pods.
_LOAD = {"vllm": "vllm:num_requests_running", "sglang": "sglang:num_running_reqs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas by load: from `least` to those of the plan, so that each works on `target_load` requests."""

    least: int = 1
    target_load: int = 32

    def __post_init__(self) -> None:
        if self.least < 1 or self.target_load < 1:
            raise UsageError("replicas and requests to scale by are at least 1")


def command_of(server: Server, settings: Settings, *, follower: bool = False) -> Command:
    """The line that starts one machine of one replica with the server's engine."""
    if server.engine == "vllm":
        return vllm_command(server, settings, follower=follower)
    if server.engine == "sglang":
        return sglang_command(server, settings)
    return trtllm_command(server, settings, OPTIONS_FILE)


def pool_objects(
    server: Server, app: str, repository: str, settings: Settings, scaling: Scaling | None = None
) -> list[Json]:
    """All objects of a pool. UsageError for what has no manifest (`no_manifest` says why)."""
    reason = no_manifest(server)
    if reason:
        raise UsageError(reason)
    objects: list[Json] = []
    if server.engine == "trtllm":
        objects.append(_options(server, app, settings))
    multi = server.nodes > 1
    objects.append((_group if multi else _deployment)(server, app, repository, settings))
    objects.append(_service(f"{app}-{server.name}", labels_of(server, app)))
    if scaling is not None and server.pool.replicas > scaling.least:
        objects.append(_autoscaler(server, app, scaling))
    return objects


def no_manifest(server: Server) -> str:
    """Why a pool has no manifest here; nothing where it has."""
    if server.engine == "trtllm" and server.nodes > 1:
        return f"{server.name}: TensorRT-LLM over several machines is started by MPI, not by pods alone"
    return ""


def router_objects(servers: Sequence[Server], router: str, app: str) -> list[Json]:
    """The router, what lets it see pods, and its Service; for TensorRT-LLM in two roles, its own server."""
    if servers[0].engine == "trtllm":
        return _disaggregated(servers, app)
    command = cluster_router(servers, router, app)
    if command is None:
        return []
    labels = {APP: app, "takt.role": "router"}
    name = f"{app}-router"
    image = image_of(f"router-{servers[0].engine}")
    subject: Json = {"kind": "ServiceAccount", "name": name}
    rule: Json = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    reference: Json = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name)},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata(name), "rules": [rule]},
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": metadata(name),
            "subjects": [subject],
            "roleRef": reference,
        },
        _deployed(name, labels, 1, router_pod(app, image, command)),
        _service(name, labels),
    ]


def _deployment(server: Server, app: str, repository: str, settings: Settings) -> Json:
    command = command_of(server, settings)
    config = f"{app}-{server.name}" if server.engine == "trtllm" else ""
    spec = pod_spec(server, command.container(), environment(repository, command), config)
    labels = labels_of(server, app)
    return _deployed(f"{app}-{server.name}", labels, server.pool.replicas, answering(spec))


def _deployed(name: str, labels: dict[str, str], replicas: int, pod: Json) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, labels),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _group(server: Server, app: str, repository: str, settings: Settings) -> Json:
    """Replicas of several machines: the first answers, the others follow."""
    leader = pod_spec(server, *_scripted(server, repository, settings, follower=False))
    worker = pod_spec(server, *_scripted(server, repository, settings, follower=True))
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(f"{app}-{server.name}", labels_of(server, app)),
        "spec": {
            "replicas": server.pool.replicas,
            "leaderWorkerTemplate": {
                "size": server.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": {
                    "metadata": {"labels": labels_of(server, app)},
                    "spec": answering(leader),
                },
                "workerTemplate": {
                    "metadata": {"labels": labels_of(server, app, "1")},
                    "spec": worker,
                },
            },
        },
    }


def _scripted(
    server: Server, repository: str, settings: Settings, *, follower: bool
) -> tuple[list[str], list[Json]]:
    """Words and environment of a machine that learns its number when it starts."""
    command = command_of(server, settings, follower=follower)
    local = max(1, server.pool.layout.dp // server.nodes)
    script = (
        'NODE_RANK="${LWS_WORKER_INDEX}" LEADER="${LWS_LEADER_ADDRESS}"\n'
        f"let START_RANK=LWS_WORKER_INDEX*{local} || true\n"
        f"exec {_after_env(command)}\n"
    )
    return ["/bin/bash", "-c", script], environment(repository, command)


def _after_env(command: Command) -> str:
    """The line alone: its environment is that of the container."""
    return Command(words=command.words).shell()


def _options(server: Server, app: str, settings: Settings) -> Json:
    text = yaml_of([options_of(server, settings)])
    name = OPTIONS_FILE.rpartition("/")[2]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(f"{app}-{server.name}"),
        "data": {name: text},
    }


def _disaggregated(servers: Sequence[Server], app: str) -> list[Json]:
    """TensorRT-LLM's server before two roles; nothing where replicas are alike, whose Service does."""
    urls = {
        role: [f"{app}-{s.name}:{PORT}" for s in servers if s.pool.role == role]
        for role in ("prompt", "decode")
    }
    if not urls["prompt"] or not urls["decode"]:
        return []
    name = f"{app}-router"
    text = yaml_of([disaggregated_options(urls["prompt"], urls["decode"])])
    words = ["trtllm-serve", "disaggregated", "--config_file", OPTIONS_FILE]
    labels = {APP: app, "takt.role": "router"}
    file, folder = OPTIONS_FILE.rpartition("/")[2], OPTIONS_FILE.rpartition("/")[0]
    pod: Json = {
        "containers": [
            {
                "name": "router",
                "image": servers[0].image,
                "command": words,
                "ports": [{"name": "http", "containerPort": PORT}],
                "volumeMounts": [{"name": "options", "mountPath": folder}],
            }
        ],
        "volumes": [{"name": "options", "configMap": {"name": name}}],
    }
    config: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name),
        "data": {file: text},
    }
    return [config, _deployed(name, labels, 1, pod), _service(name, labels)]


def _service(name: str, labels: dict[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {
            "selector": labels,
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
        },
    }


def _autoscaler(server: Server, app: str, scaling: Scaling) -> Json:
    name = f"{app}-{server.name}"
    multi = server.nodes > 1
    if server.engine not in _LOAD:
        raise UsageError(f"{server.name}: no figure of {server.engine}'s load is known to scale by")
    target: Json = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1" if multi else "apps/v1",
        "kind": "LeaderWorkerSet" if multi else "Deployment",
        "name": name,
    }
    metric: Json = {
        "type": "Pods",
        "pods": {
            "metric": {"name": _LOAD[server.engine]},
            "target": {"type": "AverageValue", "averageValue": str(scaling.target_load)},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(name),
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": scaling.least,
            "maxReplicas": server.pool.replicas,
            "metrics": [metric],
        },
    }
