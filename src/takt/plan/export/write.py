"""A plan as a folder of files that run: launch script, manifests, options, the document, and what to do with them.

Knows how to lay out, not what the files say.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from takt.errors import UsageError, did_you_mean
from takt.models.outlines import OUTLINES, outline_of

from ..plans import Plan, PlanSet
from .document import FORMAT, json_of
from .folder import check_folder, write_folder
from .kubernetes import Scaling, no_manifest, pool_objects, router_objects
from .launch import launch_script, notes_of, options_name
from .routers import default_hosts
from .servers import Server, Unserved, repository_of, servers_of, slug
from .settings import Settings
from .stacks import STACKS, stack_objects, why_not
from .trtllm import disaggregated_options, options_of
from .yaml_text import yaml_of

__all__ = ["export_files", "export_plan", "find_plan"]

_APP_LENGTH = 18  # names of objects are this, a dash and a pool's, 63 letters at most


def export_plan(
    plan_set: PlanSet,
    directory: str | Path,
    *,
    plan: str = "",
    stack: str = "all",
    engine: str = "auto",
    settings: Settings | None = None,
    scaling: Scaling | None = None,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write the files of one plan (`plan`: its id, "" the winner) to a folder that is not there yet.

    - `stack`: one of `STACKS`, or `all` that can hold the plan; `engine`: of `servers_of`.
    - `settings`: None for what the plan set and the catalogue know of requests and model.
    - `force`: a folder that an export wrote is replaced; any other never is (`check_folder`).

    Returns the files, in order. Raises UsageError for what can't be exported so, DataError where nothing can be written.
    """
    chosen = find_plan(plan_set, plan)
    files = export_files(
        plan_set, chosen, stack=stack, engine=engine, settings=settings, scaling=scaling
    )
    target = Path(directory)
    check_folder(target, force=force)
    write_folder(target, files)
    return tuple(target / name for name in files)


def find_plan(plan_set: PlanSet, name: str = "") -> Plan:
    """The plan of that id; the winner, or the nearest where none meets the targets, for none. UsageError with a near miss."""
    if not name:
        found = plan_set.winner or plan_set.nearest
        if found is None:
            raise UsageError("there is no plan to export")
        return found
    nearest = (plan_set.nearest,) if plan_set.nearest else ()
    every: tuple[Plan, ...] = (*plan_set.pareto, *plan_set.others, *nearest)
    plans = {each.id: each for each in every}
    if name not in plans:
        raise UsageError(f"no plan '{name}'", hint=did_you_mean(name, plans))
    return plans[name]


def export_files(
    plan_set: PlanSet,
    plan: Plan,
    *,
    stack: str = "all",
    engine: str = "auto",
    settings: Settings | None = None,
    scaling: Scaling | None = None,
) -> dict[str, str]:
    """What `export_plan` writes: names and texts, byte for byte the same for the same plan."""
    if stack not in ("all", *STACKS):
        hint = did_you_mean(stack, STACKS) or f"known are all, {', '.join(STACKS)}"
        raise UsageError(f"no stack '{stack}'", hint=hint)
    parts = servers_of(plan, engine)
    servers = [part for part in parts if isinstance(part, Server)]
    settings = settings or _settings_of(plan_set, servers)
    repository = repository_of(plan_set.model)
    app = slug(plan_set.model)[-_APP_LENGTH:].strip("-")
    files = {"plan.json": json_of(plan_set).decode()}
    files["launch.sh"] = launch_script(plan, parts, repository, settings)
    files |= _option_files(servers, settings)
    missing: list[str] = []
    if servers:
        stacks = STACKS if stack == "all" else (stack,)
        for each in stacks:
            files |= _stack_files(each, servers, plan, app, repository, settings, scaling, missing)
    files["README.txt"] = _readme(plan_set, plan, parts, settings, files, missing)
    return files


def _settings_of(plan_set: PlanSet, servers: Sequence[Server]) -> Settings:
    """The longest request of the plan set, and what the catalogue knows of a model by name."""
    outline = outline_of(plan_set.model) if plan_set.model in OUTLINES else None
    wanted = plan_set.context_tokens
    if outline is not None and outline.max_context:
        wanted = min(wanted or outline.max_context, outline.max_context)
    # A request goes wherever the router sends it: all pools take what the smallest has room for.
    rooms = [_room_tokens(server) for server in servers]
    return Settings(
        context_tokens=None if wanted is None else min([wanted, *rooms]),
        own_drafts=outline is not None and outline.n_draft_layers > 0,
    )


def _room_tokens(server: Server) -> int:
    """Whole blocks of the cache that one request may fill: those of a group of attention, which shares with no other."""
    pool = server.pool
    blocks = pool.kv_tokens // pool.layout.dp // pool.block_tokens
    return max(blocks, 1) * pool.block_tokens


def _option_files(servers: Sequence[Server], settings: Settings) -> dict[str, str]:
    """Files beside the script that TensorRT-LLM reads."""
    chosen = [server for server in servers if server.engine == "trtllm"]
    files = {options_name(server): yaml_of([options_of(server, settings)]) for server in chosen}
    by_role = {
        role: [host for s in chosen if s.pool.role == role for host in default_hosts(s)]
        for role in ("prompt", "decode")
    }
    if by_role["prompt"] and by_role["decode"]:
        plain = disaggregated_options(by_role["prompt"], by_role["decode"])
        files["router.trtllm.yaml"] = yaml_of([plain])
    return files


def _stack_files(
    stack: str,
    servers: Sequence[Server],
    plan: Plan,
    app: str,
    repository: str,
    settings: Settings,
    scaling: Scaling | None,
    missing: list[str],
) -> dict[str, str]:
    """The files of one stack; why there are none goes to `missing`."""
    if stack != "kubernetes":
        reason = why_not(stack, servers)
        if reason:
            missing.append(f"{stack}: {reason}")
            return {}
        objects = stack_objects(stack, servers, plan.router, app, repository, settings)
        name = "values.yaml" if stack == "production-stack" else f"{app}.yaml"
        return {f"{stack}/{name}": yaml_of(objects)}
    files: dict[str, str] = {}
    for server in servers:
        reason = no_manifest(server)
        if reason:
            missing.append(f"kubernetes: {reason}")
        else:
            objects = pool_objects(server, app, repository, settings, scaling)
            files[f"kubernetes/{server.name}.yaml"] = yaml_of(objects)
    router = router_objects(servers, plan.router, app) if files else []
    return {**files, "kubernetes/router.yaml": yaml_of(router)} if router else files


def _readme(
    plan_set: PlanSet,
    plan: Plan,
    parts: Sequence[Server | Unserved],
    settings: Settings,
    files: Mapping[str, str],
    missing: Sequence[str],
) -> str:
    head = [
        f"{plan.id}",
        f"for {plan_set.model}, {plan_set.workload}",
        "" if plan.meets else f"It does not meet the targets: {'; '.join(plan.misses)}.\n",
        "Pools",
    ]
    served = any(isinstance(part, Server) for part in parts)
    for part in parts:
        pool = part.pool
        head.append(f"- {part.name}: {pool.replicas} replicas of {pool.chips} {pool.name}")
        if isinstance(part, Unserved):
            head.append(f"  No launch line: {part.reason}. plan.json has all that is known of it;")
            head.append(f"  `takt chips {pool.chip}` shows the chip.")
        else:
            head += [f"  {note}" for note in notes_of(part, settings)]
    wanted, given = plan_set.context_tokens, settings.context_tokens
    if wanted is not None and given is not None and given < wanted:
        head += [
            "",
            f"The servers refuse requests of more than {given:,} tokens, all that a cache has room for;",
        ]
        head += [f"the longest that the plan was made for take up to {wanted:,}."]
    router = "\n  router)\n" in files["launch.sh"]
    starts = [
        word for word, is_there in (("a replica", served), ("the router", router)) if is_there
    ]
    listing = ["", "Files", *(f"- {name}{_about(name, starts)}" for name in files)]
    left = ["", "Not here", *(f"- {each}" for each in missing)] if missing else []
    return "\n".join([*head, *listing, *left]) + "\n"


def _about(name: str, starts: Sequence[str]) -> str:
    """What to do with a file, by its name; `starts`: what the script has lines for."""
    about = {
        "plan.json": f": everything of the answer, format {FORMAT}",
        "launch.sh": f": starts {' or '.join(starts)} on the machine it runs on"
        if starts
        else ": starts nothing, and says why",
        "kubernetes": ": kubectl apply -f; label machines first: kubectl label node NODE takt.chip=CHIP",
        "gateway": ": an InferencePool over the pods of kubernetes/; install its endpoint picker beside it",
        "kserve": ": kubectl apply -f, where KServe runs",
        "dynamo": ": kubectl apply -f, where Dynamo's operator runs",
        "production-stack": ": helm install -f, with the chart of vLLM's production stack",
    }
    return about.get(name.split("/")[0], ": options of TensorRT-LLM, read by launch.sh")
