"""A shell script that starts any part of a plan on the machine it runs on: a replica of a pool, or the router if there is one.

    ./launch.sh                       what there is to start
    ./launch.sh h100-sxm              a replica (its first machine; NODE_RANK=1 LEADER=HOST for the second, …)
    ./launch.sh router

Knows no clusters.
"""

import shlex
from collections.abc import Sequence

from takt.errors import UsageError

from ..plans import Plan
from .arguments import check_argv
from .command import Command
from .kubernetes import command_of
from .routers import default_hosts, host_router, hosts_variable, policy_of
from .servers import Server, Unserved, node_chips
from .settings import PORT, Settings
from .sglang import drafts
from .trtllm import mpi_words, trtllm_command

__all__ = ["launch_commands", "launch_script", "notes_of"]

_CHECKPOINTS = ("fp4", "mxfp4", "int4", "int8")


def launch_commands(server: Server, settings: Settings) -> tuple[Command, ...]:
    """The lines of a replica: of its first machine, and of the others where they differ. Checked against the tool's own list.

    Raises UsageError where the tool has no such argument.
    """
    if server.engine == "trtllm":
        commands: tuple[Command, ...] = (trtllm_command(server, settings, options_name(server)),)
    else:
        commands = (command_of(server, settings),)
        if server.nodes > 1:
            commands += (command_of(server, settings, follower=True),)
    for command in commands:
        check_argv(command.words)
    return commands


def launch_script(
    plan: Plan, parts: Sequence[Server | Unserved], repository: str, settings: Settings
) -> str:
    """The script. All lines are checked (`launch_commands`); what can't be started says why, and exits 3."""
    servers = [part for part in parts if isinstance(part, Server)]
    cases = [_case(part, settings) for part in parts]
    router = _router_case(servers, plan.router)
    if router:
        cases.append(router)
    names = [part.name for part in parts] + (["router"] if router else [])
    hosts = _hosts(servers) if host_router(servers, plan.router) is not None else []
    head = [
        "#!/usr/bin/env bash",
        f"# {_plain(plan.id)}",
        *_head_notes(servers, repository, named=bool(hosts)),
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        "",
        f"export MODEL=${{MODEL:-{shlex.quote(repository)}}}",
        f"export PORT=${{PORT:-{PORT}}}",
        *hosts,
        *_multi(servers),
    ]
    usage = f"usage: launch.sh {'|'.join(names)}"
    body = "\n".join(cases)
    tail = f"  *)\n    echo {shlex.quote(usage)} >&2\n    exit 2\n    ;;\nesac\n"
    return "\n".join([*head, "", 'case "${1:-}" in', body]) + "\n" + tail


def options_name(server: Server) -> str:
    """Name of the file of options beside the script."""
    return f"{server.name}.trtllm.yaml"


def notes_of(server: Server, settings: Settings) -> list[str]:
    """What a reader of the line must know: what the plan counted on, and the line can't say or bring about."""
    pool = server.pool
    notes = []
    types = {pool.weights, pool.experts} - {""}
    needs = sorted(types & set(_CHECKPOINTS))
    if "fp8" in types and server.engine == "trtllm":
        needs.append("fp8")
    if needs:
        notes.append(f"MODEL must be a checkpoint quantised to {' and '.join(needs)}.")
    elif pool.experts not in ("", pool.weights):
        notes.append(f"Routed experts were counted in {pool.experts}, as a checkpoint stores them.")
    if pool.engine not in (server.engine, "generic", ""):
        notes.append(f"The plan's figures count the overheads of {pool.engine}.")
    if pool.draft_tokens and server.engine == "sglang" and not drafts(server, settings):
        notes.append("No drafts: SGLang makes none from prompts where attention is copied.")
    elif pool.draft_tokens:
        how = "the model's own" if settings.own_drafts else "from the prompt (n-grams)"
        notes.append(
            f"Drafts are {how}; the plan counts on {pool.acceptance:.0%} of them being right: "
            f"measure it."
        )
    layout = pool.layout
    if server.engine == "vllm" and layout.ep not in (1, layout.tp * layout.dp):
        notes.append(
            f"The plan deals experts over {layout.ep} chips, vLLM over {layout.tp * layout.dp}."
        )
    notes.append(f"The plan counts on room for {pool.kv_tokens:,} tokens of cache a replica.")
    if settings.context_tokens is not None:
        notes.append(
            f"It takes requests of up to {settings.context_tokens:,} tokens, prompt and answer together."
        )
    return notes


def _case(part: Server | Unserved, settings: Settings) -> str:
    if isinstance(part, Unserved):
        text = f"{part.name} can't be started: {part.reason}"
        lines = [f"echo {shlex.quote(text)} >&2", "exit 3"]
        return _clause(part.name, [f"# No launch line: {_plain(part.reason)}."], lines)
    pool = part.pool
    commands = launch_commands(part, settings)
    notes = [f"# {pool.replicas} replicas of {pool.chips} {_plain(pool.name)}, {pool.layout}"]
    if part.nodes > 1:
        notes[0] += f", on {part.nodes} machines each"
    notes += [f"# {note}" for note in notes_of(part, settings)]
    if len(commands) == 1:
        return _clause(part.name, notes, _exec(part, commands[0]))
    first, other = (_exec(part, command) for command in commands)
    lines = ['if [ "$NODE_RANK" -eq 0 ]; then', *_indented(first)]
    return _clause(part.name, notes, [*lines, "else", *_indented(other), "fi"])


def _exec(server: Server, command: Command) -> list[str]:
    start = []
    if "START_RANK" in command.variables:
        start = [f"START_RANK=$((NODE_RANK * {server.pool.layout.dp // server.nodes}))"]
    exports = [f"export {Command(words=(f'{n}={v}',)).shell()}" for n, v in command.environment]
    words = (*mpi_words(server), *command.words) if server.engine == "trtllm" else command.words
    return [*start, *exports, f"exec {Command(words=words).shell()}"]


def _router_case(servers: Sequence[Server], router: str) -> str:
    command = host_router(servers, router)
    if command is not None:
        check_argv(command.words)
        notes = [f"# Balances by {policy_of(router)}; the plan was simulated with {router}."]
        return _clause("router", notes, [f"exec {command.shell()}"])
    if {s.engine for s in servers} == {"trtllm"} and {s.pool.role for s in servers} != {"both"}:
        words = ("trtllm-serve", "disaggregated", "--config_file", "router.trtllm.yaml")
        check_argv(words)
        notes = ["# Put the hosts of both pools into router.trtllm.yaml."]
        return _clause("router", notes, [f"exec {Command(words=words).shell()}"])
    return ""


def _clause(name: str, notes: list[str], lines: list[str]) -> str:
    return "\n".join([f"  {name})", *_indented([*notes, *lines, ";;"], 4)])


def _indented(lines: list[str], by: int = 2) -> list[str]:
    return [" " * by + line.replace("\n", "\n" + " " * by) for line in lines]


def _head_notes(servers: Sequence[Server], repository: str, *, named: bool) -> list[str]:
    """What to set before the first start; `named`: the script has the hosts of all replicas, for its router."""
    notes = []
    if "SET-ME" in repository:
        notes.append("# Set MODEL: the checkpoint's repository is not known.")
    if named:
        notes.append("# Set the *_HOSTS: host:port of the first machine of each replica.")
    many = sum(server.pool.replicas for server in servers) > 1
    if many and any(server.node_chips < node_chips(server.pool.chip) for server in servers):
        notes.append("# Replicas that share a machine: give each its own PORT and its own chips.")
    return notes


def _hosts(servers: Sequence[Server]) -> list[str]:
    lines = []
    for server in servers:
        name = hosts_variable(server)
        default = " ".join(default_hosts(server))
        lines.append(f'read -ra {name} <<< "${{{name}:-{default}}}"')
    return lines


def _multi(servers: Sequence[Server]) -> list[str]:
    lines = []
    if any(server.nodes > 1 for server in servers):
        lines += ["NODE_RANK=${NODE_RANK:-0}", "LEADER=${LEADER:-localhost}"]
    if any(server.pool.role != "both" for server in servers):
        lines.append("HOST_IP=${HOST_IP:-$(hostname -i | cut -d' ' -f1)}")
    return lines


def _plain(text: str) -> str:
    """Text that can't leave a comment."""
    if not text.isprintable():
        raise UsageError(f"{text!r} can't be written into a script")
    return text
