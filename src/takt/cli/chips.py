"""`takt chips`: list the chips and systems, show one with every source, check files.

Knows how both are shown as text and as JSON (keys in docs/chips.md and docs/systems.md).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from takt.chips import (
    Chip,
    Fact,
    Kind,
    Reach,
    System,
    check_chips,
    list_chips,
    list_systems,
    load_any,
)
from takt.cli.table import aligned
from takt.errors import UsageError
from takt.units import format_bytes, format_si

__all__ = ["command"]

_Json = Mapping[str, object]

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


class _ShowByDefault(TyperGroup):
    """`takt chips NAME` is `takt chips show NAME`."""

    # Typer carries its own click or uses the installed one, so the types of either would be wrong.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


command = typer.Typer(
    cls=_ShowByDefault,
    add_completion=False,
    rich_markup_mode=None,
    help="""List, show and check chips and systems of chips.

\b
  takt chips                     the catalogue
  takt chips show lpu-v1         every figure, how it is known, and from where
  takt chips show groqrack-v1    the same of a system, and how far a vector gets when
  takt chips check               is the catalogue sound?

A file of your own works wherever an id does. Twice the SRAM, in big.toml:

\b
  base = "lpu-v1"
  [mem]
  words_per_slice = 16384

\b
  takt chips show big.toml
""",
)


@command.callback(invoke_without_command=True)
def list_them(context: typer.Context, as_json: _AsJson = False) -> None:
    """Print the catalogue, one chip or system a line, unless a sub-verb follows."""
    if context.invoked_subcommand is not None:
        return
    chips, systems = list_chips(), list_systems()
    if as_json:
        document = {"chips": [_summary(chip) for chip in chips]}
        _print_json(document | {"systems": [_system_summary(each) for each in systems]})
        return
    head: tuple[str, ...]
    head = ("ID", "CLOCK", "SRAM", "SRAM RATE", "INT8 PEAK", "FP16 PEAK", "FACTS", "NAME")
    sys.stdout.write(aligned([head, *map(_line, chips)], right=(1, 2, 3, 4, 5)))
    head = ("SYSTEM", "CHIP", "CHIPS", "NODE", "RACK", "SRAM", "INT8 PEAK", "FACTS", "NAME")
    table = aligned([head, *map(_system_line, systems)], right=(2, 3, 4, 5, 6))
    sys.stdout.write(f"\n{table}")


@command.command("show")
def show(
    name: Annotated[str, typer.Argument(help="An id of the catalogue, or a .toml file.")],
    n_chips: Annotated[
        int | None,
        typer.Option("--chips", help="Chips of the system.", show_default="as many as it can have"),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Show every figure of one chip or system, how it is known, and from where.

    \b
    Example: takt chips show groqrack-v1 --chips 576
    """
    found = load_any(name)
    if isinstance(found, System):
        size = _size(found, n_chips)
        summary, text = _system_summary(found) | asdict(size), _describe_system(found, size)
    elif n_chips in (None, 1):
        summary, text = _summary(found), _describe(found)
    else:
        hint = "a chip is one; `takt chips` lists the systems"
        raise UsageError(f"{found.id} has no {n_chips:,} chips", hint=hint)
    if as_json:
        facts = {fact.key: _fact(fact) for fact in found.facts}
        _print_json(summary | {"facts": facts, "sources": dict(found.sources)})
        return
    sys.stdout.write(text)


@command.command("check")
def check(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files or ids; the whole catalogue if none.", show_default=False),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Report every problem of files of chips and systems in one run; exit 2 if there is any.

    \b
    Example: takt chips check my.toml
    """
    problems = check_chips(files or ())
    if as_json:
        rows = [
            {"file": p.file, "key": p.key, "expected": p.expected, "found": p.found, "hint": p.hint}
            for p in problems
        ]
        _print_json({"problems": rows})
    else:
        text = "".join(f"{problem}\n" for problem in problems)
        sys.stdout.write(text or "no problems\n")
    if problems:
        raise typer.Exit(2)


def _line(chip: Chip) -> tuple[str, ...]:
    return (
        chip.id,
        format_si(chip.clock_hz, "Hz"),
        format_bytes(chip.sram_bytes),
        format_si(chip.sram_bytes_per_cycle * chip.clock_hz, "B/s"),
        format_si(chip.int8_ops_per_s, "op/s"),
        format_si(chip.fp16_ops_per_s, "op/s"),
        _kinds(chip.facts),
        chip.name,
    )


def _system_line(system: System) -> tuple[str, ...]:
    return (
        system.id,
        system.chip.id,
        f"{system.max_chips:,}",
        f"{system.node.chips}",
        f"{system.rack_chips}",
        format_bytes(system.sram_bytes),
        format_si(system.max_chips * system.chip.int8_ops_per_s, "op/s"),
        _kinds(system.facts),
        system.name,
    )


def _kinds(facts: Iterable[Fact]) -> str:
    counts = Counter(fact.kind for fact in facts)
    return ", ".join(f"{counts[kind]} {kind}" for kind in Kind)


def _describe(chip: Chip) -> str:
    follows = [
        ("SRAM", f"{format_bytes(chip.sram_bytes)} = {chip.sram_bytes:,} B"),
        ("SRAM rate", f"{chip.sram_bytes_per_cycle:,} B/cycle"),
        ("stream rate", f"{chip.stream_bytes_per_cycle:,} B/cycle"),
        ("int8 peak", format_si(chip.int8_ops_per_s, "op/s")),
        ("fp16 peak", format_si(chip.fp16_ops_per_s, "op/s")),
        ("VXM to SXM, MXM", f"{chip.sxm_hops}, {chip.mxm_hops} hops"),
        ("vector on link", f"{chip.c2c_vector_cycles} cycles"),
        ("launch", f"{chip.launch_cycles} cycles from program to program"),
        ("idle, all busy", f"{chip.power_w(0):.0f} W, {chip.power_w(1):.0f} W"),
        ("fingerprint", chip.fingerprint[:16]),
    ]
    head = f"{chip.id}: {chip.name}\n"
    return "\n".join([head, aligned(follows), _fact_table(chip), _source_table(chip)])


def _fact_table(found: Chip | System) -> str:
    rows = [
        (fact.key, _number(fact), fact.unit, str(fact.kind), fact.source, fact.date, fact.note)
        for fact in found.facts
    ]
    header = ("FACT", "VALUE", "UNIT", "KIND", "SOURCE", "DATE", "NOTE")
    return aligned([header, *rows], right=(1,))


def _source_table(found: Chip | System) -> str:
    return aligned([("SOURCE", ""), *found.sources])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What a system is with ``chips`` chips; wires count once for each direction."""

    chips: int
    wires: int
    sram_bytes: int
    sram_bytes_per_s: int
    link_bytes_per_s: int
    int8_ops_per_s: int
    hops: int
    node_hops: int
    reach: tuple[Reach, ...]


def _size(system: System, n_chips: int | None) -> _Size:
    network = system.network(n_chips)
    count, chip = network.n_chips, system.chip
    return _Size(
        chips=count,
        wires=len(network.wires),
        sram_bytes=count * chip.sram_bytes,
        sram_bytes_per_s=count * chip.sram_bytes_per_cycle * chip.clock_hz,
        link_bytes_per_s=len(network.wires) * system.link_bytes_per_s,
        int8_ops_per_s=count * chip.int8_ops_per_s,
        hops=max(network.distances(0)),
        node_hops=max(network.node_distances(0)),
        reach=system.reach(network),
    )


def _describe_system(system: System, size: _Size) -> str:
    follows = [
        ("chips", f"{size.chips:,} of {system.max_chips:,}, {system.chip.id}"),
        ("SRAM", f"{format_bytes(size.sram_bytes)} = {size.sram_bytes:,} B"),
        ("SRAM rate", format_si(size.sram_bytes_per_s, "B/s")),
        ("int8 peak", format_si(size.int8_ops_per_s, "op/s")),
        ("links", f"{size.wires:,} wires, {format_si(size.link_bytes_per_s, 'B/s')}"),
        ("longest way", f"{size.hops} wires, {size.node_hops} of them between nodes"),
    ]
    rows = [
        (f"{row.latency_ns:,} ns", f"{row.hops}", f"{row.chips:,}", format_bytes(row.sram_bytes))
        for row in size.reach
    ]
    return "\n".join(
        [
            f"{system.id}: {system.name}\n",
            aligned(follows),
            aligned([("REACH", "WIRES", "CHIPS", "SRAM"), *rows], right=(0, 1, 2, 3)),
            _fact_table(system),
            _source_table(system),
        ]
    )


def _number(fact: Fact) -> str:
    if fact.value is None:
        return "unknown"
    return f"{fact.value:,}" if isinstance(fact.value, int) else f"{fact.value:g}"


def _summary(chip: Chip) -> dict[str, object]:
    return {
        "id": chip.id,
        "name": chip.name,
        "fingerprint": chip.fingerprint,
        "clock_hz": chip.clock_hz,
        "lanes": chip.lanes,
        "queues": chip.icu.queues,
        "sram_bytes": chip.sram_bytes,
        "sram_bytes_per_cycle": chip.sram_bytes_per_cycle,
        "stream_bytes_per_cycle": chip.stream_bytes_per_cycle,
        "int8_ops_per_s": chip.int8_ops_per_s,
        "fp16_ops_per_s": chip.fp16_ops_per_s,
    }


def _system_summary(system: System) -> dict[str, object]:
    return {
        "id": system.id,
        "name": system.name,
        "chip": system.chip.id,
        "max_chips": system.max_chips,
        "node_chips": system.node.chips,
        "rack_chips": system.rack_chips,
        "max_sram_bytes": system.sram_bytes,
    }


def _fact(fact: Fact) -> dict[str, object]:
    return {
        "value": fact.value,
        "unit": fact.unit,
        "kind": str(fact.kind),
        "source": fact.source,
        "date": fact.date,
        "note": fact.note,
        "history": [_fact(earlier) for earlier in fact.history],
    }


def _print_json(document: _Json) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
