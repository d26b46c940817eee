"""`takt chips`: list the chips, show one with every source, check files.

Knows how chips are shown as text and as JSON (keys in docs/chips.md).
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import typer

from takt.chips import Chip, Fact, Kind, check_chips, list_chips, load_chip
from takt.cli.table import aligned
from takt.units import format_bytes, format_si

__all__ = ["command"]

_Json = Mapping[str, object]

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

command = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="""List, show and check chips.

\b
  takt chips                     the catalogue
  takt chips show lpu-v1         every figure, how it is known, and from where
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
    """Print the catalogue, one chip a line, unless a sub-verb follows."""
    if context.invoked_subcommand is not None:
        return
    chips = list_chips()
    if as_json:
        _print_json({"chips": [_summary(chip) for chip in chips]})
        return
    header = ("ID", "CLOCK", "SRAM", "SRAM RATE", "INT8 PEAK", "FP16 PEAK", "FACTS", "NAME")
    sys.stdout.write(aligned([header, *map(_line, chips)], right=(1, 2, 3, 4, 5)))


@command.command("show")
def show(
    chip: Annotated[str, typer.Argument(help="An id of the catalogue, or a .toml file.")],
    as_json: _AsJson = False,
) -> None:
    """Show every figure of one chip, how it is known, and from where.

    \b
    Example: takt chips show lpu-v1
    """
    found = load_chip(chip)
    if as_json:
        facts = {fact.key: _fact(fact) for fact in found.facts}
        _print_json(_summary(found) | {"facts": facts, "sources": dict(found.sources)})
        return
    sys.stdout.write(_describe(found))


@command.command("check")
def check(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Chip files or ids; the whole catalogue if none.", show_default=False),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Report every problem of chip files in one run; exit 2 if there is any.

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
    counts = Counter(fact.kind for fact in chip.facts)
    return (
        chip.id,
        format_si(chip.clock_hz, "Hz"),
        format_bytes(chip.sram_bytes),
        format_si(chip.sram_bytes_per_cycle * chip.clock_hz, "B/s"),
        format_si(chip.int8_ops_per_s, "op/s"),
        format_si(chip.fp16_ops_per_s, "op/s"),
        ", ".join(f"{counts[kind]} {kind}" for kind in Kind),
        chip.name,
    )


def _describe(chip: Chip) -> str:
    follows = [
        ("SRAM", f"{format_bytes(chip.sram_bytes)} = {chip.sram_bytes:,} B"),
        ("SRAM rate", f"{chip.sram_bytes_per_cycle:,} B/cycle"),
        ("stream rate", f"{chip.stream_bytes_per_cycle:,} B/cycle"),
        ("int8 peak", format_si(chip.int8_ops_per_s, "op/s")),
        ("fp16 peak", format_si(chip.fp16_ops_per_s, "op/s")),
        ("VXM to SXM, MXM", f"{chip.sxm_hops}, {chip.mxm_hops} hops"),
        ("fingerprint", chip.fingerprint[:16]),
    ]
    rows = [
        (fact.key, _number(fact), fact.unit, str(fact.kind), fact.source, fact.date, fact.note)
        for fact in chip.facts
    ]
    header = ("FACT", "VALUE", "UNIT", "KIND", "SOURCE", "DATE", "NOTE")
    return "\n".join(
        [
            f"{chip.id}: {chip.name}\n",
            aligned(follows),
            aligned([header, *rows], right=(1,)),
            aligned([("SOURCE", ""), *chip.sources]),
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
