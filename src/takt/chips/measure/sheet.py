"""What was measured, as the text of an accelerator's file, and that file on disk.

Knows the form of such files. Measures nothing.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from takt import __version__
from takt.chips.measure.rates import Measured
from takt.errors import UsageError
from takt.files import write_whole

__all__ = ["check_path", "sheet_of", "write_sheet"]


def sheet_of(measured: Measured, chip_id: str) -> str:
    """The text of a file that `load_accelerator` reads, each figure with how it came about."""
    host, date = measured.host, measured.date
    caches = ", ".join(f"level {level}: {size:,} B" for level, size in host.caches)
    head = [
        "# Measured by `takt chips measure`. Power and price are not: add rows [power] tdp_w, …",
        f"id = {_text(chip_id)}",
        f"name = {_text(f'{host.model}, {host.cores} cores')}",
        'kind = "cpu"',
        f"vendor = {_text(host.vendor)}",
        f"architecture = {_text(host.architecture)}",
        f"nearest = {_text(chip_id)}",
        "\n[sources]",
        f"run = {_text(f'takt chips measure, Takt {__version__}, {measured.libraries}')}",
        f"os = {_text('what the operating system reports')}",
    ]
    memory = [
        _row("capacity_bytes", host.memory_bytes, "B", "measured", "os", date, ""),
        _row(
            "bytes_per_s",
            measured.read_bytes_per_s,
            "B/s",
            "measured",
            "run",
            date,
            _note(measured),
        ),
    ]
    if host.caches:
        note = f"all caches together; {caches}"
        memory.append(_row("on_chip_bytes", host.cache_bytes, "B", "measured", "os", date, note))
    note = "this machine alone"
    alone = _row("chips", 1, "chips", "measured", "run", date, note)
    groups = {"memory": memory, "peak": list(_peaks(measured)), "scale_up": [alone]}
    body = [f"\n[{group}]\n" + "\n".join(rows) for group, rows in groups.items()]
    return "\n".join([*head, *body]) + "\n"


def check_path(path: Path, *, force: bool = False) -> None:
    """Raise UsageError where `write_sheet` could not write: to call before a long measurement."""
    if path.suffix != ".toml":
        raise UsageError(f"{path} does not end in .toml", hint="a chip's file does")
    if path.is_dir():
        raise UsageError(f"{path} is a directory, expected a file to write")
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"the directory {path.parent} may not be written to")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="--force writes over it")


def write_sheet(path: Path, text: str, *, force: bool = False) -> None:
    """Write `text` to `path` in one step; an existing file only with `force`.

    Raises UsageError as `check_path` does, DataError where the file cannot be written.
    """
    check_path(path, force=force)
    write_whole(path, text.encode())


def _peaks(measured: Measured) -> Iterator[str]:
    fp32, half, date = measured.fp32_ops_per_s, measured.half_ops_per_s, measured.date
    square = "best rate of large square products, all cores"
    if half is not None and half > fp32:
        yield _row("half_ops_per_s", half, "op/s", "measured", "run", date, f"bf16: {square}")
    else:
        why = "no library here multiplies bf16" if half is None else f"bf16 itself {half:.3g} op/s"
        note = f"the fp32 rate, as after widening: {why}"
        yield _row("half_ops_per_s", fp32, "op/s", "derived", "run", date, note)
    if measured.int8_ops_per_s is not None:
        yield _row(
            "int8_ops_per_s", measured.int8_ops_per_s, "op/s", "measured", "run", date, square
        )
    yield _row("fp32_ops_per_s", fp32, "op/s", "measured", "run", date, square)


def _note(measured: Measured) -> str:
    return (
        f"reading {measured.array_bytes:,} B with {measured.host.cores} threads, best of all passes; "
        f"copy {measured.copy_bytes_per_s:.4g} B/s, triad {measured.triad_bytes_per_s:.4g} B/s"
    )


def _row(name: str, value: float, unit: str, kind: str, source: str, date: str, note: str) -> str:
    number = f"{value:_}" if isinstance(value, int) else f"{value:.4e}"
    fields = [f"value = {number}", f'unit = "{unit}"', f'kind = "{kind}"', f'source = "{source}"']
    fields += [f'date = "{date}"', *([f"note = {_text(note)}"] if note else [])]
    return f"{name} = {{ {', '.join(fields)} }}"


def _text(text: str) -> str:
    """A TOML string of one line: JSON's escapes are TOML's too."""
    return json.dumps(text, ensure_ascii=False)
