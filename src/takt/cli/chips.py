"""`takt chips`: list the chips and systems, show one with every source, check files, measure.

Knows the sub-verbs and their options. How chips look is for ``chips_table`` and ``chips_text``.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from takt.chips import Accelerator, Chip, System, list_accelerators, list_chips, list_systems
from takt.chips.lookup import check_chips, load_any
from takt.cli.chips_measure import measure_host
from takt.cli.chips_table import SORT_KEYS, chip_table, row_of, wanted_of
from takt.cli.chips_text import describe, facts_of, summary_of, system_table

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
    help="""List, show, check and measure chips and systems of chips.

\b
  takt chips                     the catalogue
  takt chips --kind gpu --min-memory 100GB --sort bandwidth
  takt chips show lpu-v1         every figure, how it is known, and from where
  takt chips show groqrack-v1    the same of a system, and how far a vector gets when
  takt chips check               is the catalogue sound?
  takt chips measure             this machine: bandwidth and matrix rates

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
def list_them(
    context: typer.Context,
    vendor: Annotated[str, typer.Option(help="Only chips of this vendor.")] = "",
    kind: Annotated[
        str, typer.Option(metavar="lpu|system|gpu|…", help="Only chips of this kind.")
    ] = "",
    min_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Only chips with as much memory: 100GB, 80GiB.")
    ] = "",
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help=f"id, or the largest {', '.join(SORT_KEYS)}.")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """Print the catalogue, one chip or system a line, unless a sub-verb follows."""
    if context.invoked_subcommand is not None:
        return
    wanted = wanted_of(vendor, kind, min_memory, sort)
    every: list[Chip | System | Accelerator]
    every = [*list_chips(), *list_accelerators(), *list_systems()]
    by_id = {each.id: each for each in every}
    rows = wanted.of([row_of(each) for each in every])
    if as_json:
        _print_json(_document([by_id[row.id] for row in rows]))
        return
    systems = [each for row in rows if isinstance(each := by_id[row.id], System)]
    tables = []
    if chips := [row for row in rows if row.kind != "system"]:
        tables.append(chip_table(chips))
    if systems:
        tables.append(system_table(systems))
    sys.stdout.write("\n".join(tables) or "no chip has all of that\n")


def _document(found: Iterable[Chip | System | Accelerator]) -> _Json:
    names = {Chip: "chips", System: "systems", Accelerator: "accelerators"}
    document: dict[str, list[_Json]] = {name: [] for name in names.values()}
    for each in found:
        document[names[type(each)]].append(summary_of(each))
    return document


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
    if as_json:
        _print_json(facts_of(found, n_chips))
    else:
        sys.stdout.write(describe(found, n_chips))


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


command.command("measure")(measure_host)


def _print_json(document: _Json) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
