"""What stands before the replicas: the command lines of routers, with hosts named or found by a cluster.

Routers balance as a plan's `router` says where they can; `policy_of` says what is nearest. Knows no files.
"""

from collections.abc import Sequence
from types import MappingProxyType

from .command import Command
from .servers import Server
from .settings import BOOTSTRAP_PORT, PORT

__all__ = [
    "APP",
    "ROUTED",
    "cluster_router",
    "default_hosts",
    "host_router",
    "hosts_variable",
    "policy_of",
    "urls_of",
]

ROUTED = ("vllm", "sglang")
_START = MappingProxyType(
    {"vllm": ("vllm-router",), "sglang": ("python3", "-m", "sglang_router.launch_router")}
)
_SPLIT = MappingProxyType({"vllm": "--vllm-pd-disaggregation", "sglang": "--pd-disaggregation"})
_POLICIES = MappingProxyType(
    {
        "round-robin": "round_robin",
        "least-loaded": "power_of_two",
        "prefix-aware": "cache_aware",
        "deadline-aware": "power_of_two",
    }
)
APP = "takt.plan"


def policy_of(router: str) -> str:
    """The policy of either router that is nearest: none looks at all replicas for the least loaded, nor at deadlines."""
    return _POLICIES.get(router, "round_robin")


def host_router(servers: Sequence[Server], router: str) -> Command | None:
    """The router with all replicas by host; None where the engine brings none that fits, or one replica needs none."""
    engine = _engine(servers)
    if engine not in ROUTED or sum(server.pool.replicas for server in servers) == 1:
        return None
    words = [*_START[engine], "--host", "0.0.0.0", "--port", "${PORT}"]
    words += ["--policy", policy_of(router)]
    if any(server.pool.role == "prompt" for server in servers):
        words += [_SPLIT[engine]]
        for server in servers:
            words += _two_roles(server, engine)
    else:
        urls = [url for server in servers for url in urls_of(server)]
        words += ["--worker-urls", *urls]
    return Command(words=tuple(words))


def cluster_router(servers: Sequence[Server], router: str, plan: str) -> Command | None:
    """The router that asks the cluster for replicas: those with the labels of the plan's pods."""
    engine = _engine(servers)
    if engine not in ROUTED:
        return None
    words = [*_START[engine], "--host", "0.0.0.0", "--port", "${PORT}"]
    words += ["--policy", policy_of(router), "--service-discovery"]
    words += ["--service-discovery-port", str(PORT)]
    words += ["--service-discovery-namespace", "${NAMESPACE}"]
    if any(server.pool.role == "prompt" for server in servers):
        words += [_SPLIT[engine]]
        words += ["--prefill-selector", f"{APP}={plan}", "takt.role=prompt", "takt.rank=0"]
        words += ["--decode-selector", f"{APP}={plan}", "takt.role=decode", "takt.rank=0"]
    else:
        words += ["--selector", f"{APP}={plan}", "takt.rank=0"]
    return Command(words=tuple(words))


def urls_of(server: Server) -> list[str]:
    """Where each replica listens."""
    hosts = range(server.pool.replicas)
    return [f"http://${{{hosts_variable(server)}[{i}]}}" for i in hosts]


def default_hosts(server: Server) -> list[str]:
    """Names and ports for the first machines of a pool's replicas, until others are given."""
    return [f"{server.name}-{i}:{PORT}" for i in range(server.pool.replicas)]


def hosts_variable(server: Server) -> str:
    """Name of the list of hosts of a pool, `host:port`: the first machine of each replica."""
    return f"{server.name.upper().replace('-', '_')}_HOSTS"


def _two_roles(server: Server, engine: str) -> list[str]:
    if server.pool.role == "decode":
        return [word for url in urls_of(server) for word in ("--decode", url)]
    bootstrap = [str(BOOTSTRAP_PORT)] if engine == "sglang" else []
    return [word for url in urls_of(server) for word in ("--prefill", url, *bootstrap)]


def _engine(servers: Sequence[Server]) -> str:
    """The engine of all of them, or nothing where they differ."""
    engines = {server.engine for server in servers}
    return engines.pop() if len(engines) == 1 else ""
