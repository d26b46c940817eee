"""`takt chips measure`: measures the machine it runs on, and writes a chip's file of it.

Knows how that is shown: the file, or its figures as JSON, on stdout; how far it is on stderr.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["measure_host"]


def measure_host(
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE.toml", help="Where to write the chip's file."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
) -> None:
    """Measure this machine: bandwidth of its memory, and its matrix rate by number type.

    Prints the chip's file, or writes it to --out; that file then works wherever a chip's id does.
    Takes a few seconds; other programs should rest meanwhile.

    \b
    Example: takt chips measure --out host.toml
    """
    from takt.chips.measure import check_path, describe_host, measure, sheet_of, write_sheet

    path = Path(out) if out is not None else None
    if path is not None:
        check_path(path, force=force)
    with _bar() as progress:
        measured = measure(describe_host(), progress=progress)
    text = sheet_of(measured, path.stem if path is not None else "host")
    if path is not None:
        write_sheet(path, text, force=force)
    if as_json:
        document = asdict(measured) | {"file": str(path) if path is not None else None}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    elif path is None:
        sys.stdout.write(text)
    else:
        sys.stdout.write(f"written to {path}\n")


@contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, where it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=1.0)
        yield lambda what, share: bar.update(task, description=f"measuring {what}", completed=share)
