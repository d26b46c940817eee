"""Manifests for the stacks that manage inference on Kubernetes: Gateway API pools, KServe, Dynamo, vLLM's production stack.

Each says in `why_not` which plans it can't hold. Fields are those of the stacks' own schemas (docs/export.md). Knows no files.
"""

from collections.abc import Mapping, Sequence

from takt.errors import UsageError, did_you_mean

from .command import Command
from .kubernetes import no_manifest
from .pods import Json, container_of, environment, metadata, pod_spec
from .routers import APP
from .servers import Server, host_of, image_of
from .settings import PORT, Settings
from .sglang import engine_options as sglang_options
from .vllm import engine_options as vllm_options
from .vllm import transfer_options, vllm_command

__all__ = ["STACKS", "dynamo_command", "stack_objects", "why_not"]

STACKS = ("kubernetes", "gateway", "kserve", "dynamo", "production-stack")
_PICKER_PORT = 9002  # where endpoint pickers listen, by the CRD's default
_ROUTER_MODES = {
    "round-robin": "round-robin",
    "least-loaded": "least-loaded",
    "prefix-aware": "kv",
    "deadline-aware": "least-loaded",
}
_LOGICS = {"round-robin": "roundrobin", "prefix-aware": "prefixaware"}


def why_not(stack: str, servers: Sequence[Server]) -> str:
    """Why a stack can't hold the plan; nothing where it can."""
    engines = {server.engine for server in servers}
    roles = [server.pool.role for server in servers]
    if stack == "gateway":
        return next((reason for server in servers if (reason := no_manifest(server))), "")
    if stack == "kserve":
        if engines != {"vllm"}:
            return "KServe's LLMInferenceService starts vLLM"
        if sorted(roles) not in (["both"], ["decode", "prompt"]):
            return (
                "LLMInferenceService has one pool, or one that reads prompts and one that generates"
            )
        if any(server.nodes > 1 for server in servers):
            return "replicas of several machines are not exported for KServe"
    if stack == "dynamo" and (len(engines) > 1 or not engines <= {"vllm", "sglang"}):
        return "exported for Dynamo: plans of one engine, vLLM or SGLang"
    if stack == "production-stack":
        if engines != {"vllm"} or set(roles) != {"both"}:
            return "vLLM's production stack is exported for pools of vLLM that do both, prompts and tokens"
        if any(server.nodes > 1 or server.resource != "nvidia.com/gpu" for server in servers):
            return "the values exported for it ask for NVIDIA GPUs of one machine a replica"
    return ""


def stack_objects(
    stack: str,
    servers: Sequence[Server],
    router: str,
    app: str,
    repository: str,
    settings: Settings,
) -> list[Json]:
    """Objects of a stack, `kubernetes` aside. UsageError for another, or a plan that it can't hold."""
    if stack not in STACKS[1:]:
        raise UsageError(f"no stack '{stack}'", hint=did_you_mean(stack, STACKS))
    reason = why_not(stack, servers)
    if reason:
        raise UsageError(reason)
    if stack == "gateway":
        return _gateway(servers, app)
    if stack == "kserve":
        return [_kserve(servers, app, repository, settings)]
    if stack == "dynamo":
        return [_dynamo(servers, router, app, repository, settings)]
    return [_values(servers, router, repository, settings)]


def _gateway(servers: Sequence[Server], app: str) -> list[Json]:
    """One InferencePool of all pods that answer; its endpoint picker is installed beside it."""
    picker: Json = {"name": f"{app}-epp", "port": {"number": _PICKER_PORT}}
    labels = {APP: app, "takt.rank": "0"}
    if {server.pool.role for server in servers} == {"both"} and len(servers) == 1:
        labels["takt.pool"] = servers[0].name
    pool: Json = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(app),
        "spec": {
            "selector": {"matchLabels": labels},
            "targetPorts": [{"number": PORT}],
            "endpointPickerRef": picker,
        },
    }
    return [pool]


def _kserve(servers: Sequence[Server], app: str, repository: str, settings: Settings) -> Json:
    by_role = {server.pool.role: server for server in servers}
    first = by_role.get("decode") or by_role["both"]
    spec: dict[str, Json] = {
        "model": {"uri": f"hf://{repository}", "name": repository},
        **_workload(first, settings),
        "router": {"route": {}, "gateway": {}, "scheduler": {}},
    }
    if "prompt" in by_role:
        spec["prefill"] = _workload(by_role["prompt"], settings)
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": metadata(app),
        "spec": spec,
    }


def _workload(server: Server, settings: Settings) -> dict[str, Json]:
    """KServe downloads the model and starts vLLM itself; what it does not know goes by variable."""
    layout = server.pool.layout
    parallelism: dict[str, Json] = {"tensor": layout.tp}
    if layout.pp > 1:
        parallelism["pipeline"] = layout.pp
    if layout.dp > 1:
        parallelism["data"] = layout.dp
        parallelism["dataLocal"] = layout.dp
    if layout.ep > 1:
        parallelism["expert"] = True
    words = vllm_command(server, settings).words
    extra = _without(words[words.index("--port") + 2 :], _PARALLEL, ("--enable-expert-parallel",))
    env: Json = {
        "name": "VLLM_ADDITIONAL_ARGS",
        "value": Command(words=extra).shell().replace(" \\\n  ", " "),
    }
    pod = pod_spec(server, (), [env])
    # KServe's own templates bring the image, the command and shared memory.
    main = {key: container_of(pod)[key] for key in ("name", "env", "resources")}
    template: Json = {"containers": [main], "nodeSelector": pod["nodeSelector"]}
    return {"replicas": server.pool.replicas, "parallelism": parallelism, "template": template}


_CHART = ("--tensor-parallel-size",)
_CHART_SWITCHES = ("--enable-prefix-caching", "--no-enable-prefix-caching")
_PARALLEL = ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size")


def _without(
    words: Sequence[str], options: Sequence[str], switches: Sequence[str]
) -> tuple[str, ...]:
    """The words less options of one value each, and switches of none."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word in options:
            skip = word in options
        elif word not in switches:
            kept.append(word)
    return tuple(kept)


def _dynamo(
    servers: Sequence[Server], router: str, app: str, repository: str, settings: Settings
) -> Json:
    engine = servers[0].engine
    mode = _ROUTER_MODES.get(router, "round-robin")
    words = ["python3", "-m", "dynamo.frontend", "--router-mode", mode]
    words += ["--http-port", str(PORT)]
    frontend: dict[str, Json] = {
        "componentType": "frontend",
        "replicas": 1,
        "extraPodSpec": {
            "mainContainer": {"image": image_of("dynamo-frontend"), "command": list(words)}
        },
    }
    services: dict[str, Json] = {"Frontend": frontend}
    for server in servers:
        services[server.name] = _dynamo_worker(server, repository, settings)
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": metadata(app),
        "spec": {"backendFramework": engine, "services": services},
    }


def _dynamo_worker(server: Server, repository: str, settings: Settings) -> Json:
    command = dynamo_command(server, settings)
    gpus: dict[str, Json] = {"gpu": str(server.node_chips)}
    if server.resource != "nvidia.com/gpu":
        gpus["gpuType"] = server.resource
    worker: dict[str, Json] = {
        "componentType": "worker",
        "replicas": server.pool.replicas,
        "resources": {"requests": dict(gpus), "limits": dict(gpus)},
        "extraPodSpec": {
            "nodeSelector": {"takt.chip": server.pool.chip},
            "mainContainer": {
                "image": image_of(f"dynamo-{server.engine}"),
                "env": environment(repository, command),
                "command": list(command.container()),
            },
        },
    }
    role = {"prompt": "prefill", "decode": "decode"}.get(server.pool.role)
    if role:
        worker["subComponentType"] = role
    if server.nodes > 1:
        worker["multinode"] = {"nodeCount": server.nodes}
    return worker


def dynamo_command(server: Server, settings: Settings) -> Command:
    """A worker of Dynamo: its engine's options, and its role. Dynamo adds how several machines meet."""
    role = {"prompt": "prefill", "decode": "decode"}.get(server.pool.role)
    if server.engine == "sglang":
        words = ["python3", "-m", "dynamo.sglang", "--model-path", "${MODEL}"]
        return Command(words=(*words, *sglang_options(server, settings)))
    words = ["python3", "-m", "dynamo.vllm", "--model", "${MODEL}"]
    words += vllm_options(server, settings)
    if role:
        words += ["--disaggregation-mode", role, *transfer_options(server)]
    return Command(words=tuple(words))


def _values(
    servers: Sequence[Server], router: str, repository: str, settings: Settings
) -> Mapping[str, Json]:
    """Values of the chart of vLLM's production stack."""
    models: list[Json] = []
    for server in servers:
        image, _, tag = server.image.rpartition(":")
        # Without the first two the chart would turn prefix caching off, and leave shared memory small.
        config: dict[str, Json] = {
            "enablePrefixCaching": server.pool.prefix_caching,
            "tensorParallelSize": server.pool.layout.tp,
            "extraArgs": list(_without(vllm_options(server, settings), _CHART, _CHART_SWITCHES)),
        }
        models.append(
            {
                "name": server.name,
                "repository": image,
                "tag": tag,
                "modelURL": repository,
                "replicaCount": server.pool.replicas,
                "requestCPU": host_of("cpus"),
                "requestMemory": f"{host_of('memory_gib')}Gi",
                "requestGPU": server.node_chips,
                "pvcStorage": f"{host_of('disk_gib')}Gi",
                "vllmConfig": config,
                "nodeSelectorTerms": [_node_term(server)],
            }
        )
    return {
        "servingEngineSpec": {"modelSpec": models, "containerPort": PORT},
        "routerSpec": {"replicaCount": 1, "routingLogic": _LOGICS.get(router, "roundrobin")},
    }


def _node_term(server: Server) -> Json:
    labels = {"key": "takt.chip", "operator": "In", "values": [server.pool.chip]}
    return {"matchExpressions": [labels]}
