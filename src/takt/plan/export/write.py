"""A plan as a folder of files that run: launch script, manifests, options, the document, and what to do with them.

The folder appears when it is complete, or not at all. Knows how to lay out, not what the files say.
"""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from takt.errors import DataError, UsageError, did_you_mean
from takt.models.outlines import OUTLINES, outline_of

from ..plans import Plan, PlanSet
from .document import json_of
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
    - `settings`: None for what the catalogue knows of the model.
    - `force`: a folder that an export wrote is replaced; any other never is.

    Returns the files, in order. Raises UsageError for what can't be exported so, DataError where nothing can be written.
    """
    chosen = find_plan(plan_set, plan)
    files = export_files(
        plan_set, chosen, stack=stack, engine=engine, settings=settings, scaling=scaling
    )
    target = Path(directory)
    _check_target(target, force)
    _write_all(target, files)
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
    settings = settings or _settings_of(plan_set.model)
    repository = repository_of(plan_set.model)
    app = slug(plan_set.model)[-_APP_LENGTH:].strip("-")
    parts = servers_of(plan, engine)
    servers = [part for part in parts if isinstance(part, Server)]
    files = {"plan.json": json_of(plan_set).decode()}
    files["launch.sh"] = launch_script(plan, parts, repository, settings)
    files |= _option_files(servers, settings)
    missing: list[str] = []
    if servers:
        stacks = STACKS if stack == "all" else (stack,)
        for each in stacks:
            files |= _stack_files(each, servers, plan, app, repository, settings, scaling, missing)
    files["README.txt"] = _readme(plan_set, plan, parts, settings, tuple(files), missing)
    return files


def _settings_of(model: str) -> Settings:
    """What the catalogue knows of a model by name."""
    return Settings(own_drafts=model in OUTLINES and outline_of(model).n_draft_layers > 0)


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
    files: tuple[str, ...],
    missing: Sequence[str],
) -> str:
    head = [
        f"{plan.id}",
        f"for {plan_set.model}, {plan_set.workload}",
        "" if plan.meets else f"It does not meet the targets: {'; '.join(plan.misses)}.\n",
        "Pools",
    ]
    for part in parts:
        pool = part.pool
        head.append(f"- {part.name}: {pool.replicas} replicas of {pool.chips} {pool.name}")
        if isinstance(part, Unserved):
            head.append(f"  No launch line: {part.reason}. plan.json has all that is known of it;")
            head.append(f"  `takt chips {pool.chip}` shows the chip.")
        else:
            head += [f"  {note}" for note in notes_of(part, settings)]
    listing = ["", "Files", *(f"- {name}{_about(name)}" for name in files)]
    left = ["", "Not here", *(f"- {each}" for each in missing)] if missing else []
    return "\n".join([*head, *listing, *left]) + "\n"


def _about(name: str) -> str:
    """What to do with a file, by its name."""
    about = {
        "plan.json": ": everything of the answer, format takt-plan-1",
        "launch.sh": ": starts a replica or the router on the machine it runs on",
        "kubernetes": ": kubectl apply -f; label machines first: kubectl label node NODE takt.chip=CHIP",
        "gateway": ": an InferencePool over the pods of kubernetes/; install its endpoint picker beside it",
        "kserve": ": kubectl apply -f, where KServe runs",
        "dynamo": ": kubectl apply -f, where Dynamo's operator runs",
        "production-stack": ": helm install -f, with the chart of vLLM's production stack",
    }
    return about.get(name.split("/")[0], ": options of TensorRT-LLM, read by launch.sh")


def _check_target(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")
    if not target.exists():
        return
    if not force:
        raise UsageError(f"{target} is there already", hint="`--force` replaces an export")
    if not target.is_dir() or target.is_symlink() or not (target / "plan.json").is_file():
        raise UsageError(f"{target} is not an export, it is left as it is")


def _write_all(target: Path, files: Mapping[str, str]) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    try:
        for name, text in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            if name.endswith(".sh"):
                path.chmod(0o755)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise DataError(
            f"cannot be written: {error.strerror or error}", file=str(target)
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
