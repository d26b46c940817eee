"""The shipped table of exact schedules of LPUs: what its rows hold, how it is read, and what tells that a row is stale.

Rows are made by `tools/build_lpu_steps.py`, one for each model × system × context × users that was compiled. A row
stands for every catalogue name of the same sizes. Does not interpolate (`lpu`) and compiles nothing.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from takt.chips import System
from takt.errors import DataError
from takt.models import ModelShape

__all__ = ["FILE", "StepRow", "load_rows", "machine_digest", "sizes_digest", "write_rows"]

FILE = Path(__file__).parent / "data" / "lpu_steps.jsonl"
_DIGITS = 16


class StepRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One compiled deployment: a model on the first `chips` chips of a system, cut for `users` caches of `context`.

    - `models`: catalogue names of these sizes. `group`: chips that share each layer; `stages` groups in a line.
    - `max_users`: caches that fit with stages cut for them, 0 for any number.
    - `positions` ascending, and for a token there: `step_cycles` from token to logits; `bound_cycles`, which no
      schedule of these programs goes below; `interval_cycles` until the next user's token follows; `active_j`,
      joules of what it does, idle power not included.
    - `ffn_cycles`: of all feed-forward programs of a step at the last position, 0 where they could not be told apart.
    - `sizes`, `machine`: digests of the model's sizes, and of chip and wiring, that all this follows from.
    """

    models: tuple[str, ...]
    system: str
    chip: str
    weights: str
    group: int
    stages: int
    chips: int
    context: int
    users: int
    max_users: int
    positions: tuple[int, ...]
    step_cycles: tuple[int, ...]
    bound_cycles: tuple[int, ...]
    interval_cycles: tuple[int, ...]
    active_j: tuple[float, ...]
    ffn_cycles: int
    vocab_size: int
    n_layers: int
    sizes: str
    machine: str

    @property
    def key(self) -> tuple[str, str, str, int, int, int]:
        """By what rows are sorted, and of which there is one each."""
        return (self.models[0], self.system, self.weights, self.context, self.users, self.chips)


@cache
def load_rows(path: Path = FILE) -> tuple[StepRow, ...]:
    """All rows, in the file's order. DataError for a damaged file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", file=str(path)) from error
    try:
        rows = tuple(msgspec.json.decode(line, type=StepRow) for line in lines if line)
    except msgspec.DecodeError as error:
        raise DataError(f"not a table of schedules: {error}", file=str(path)) from error
    for row in rows:
        columns = (row.step_cycles, row.bound_cycles, row.interval_cycles, row.active_j)
        if not row.positions or any(len(column) != len(row.positions) for column in columns):
            raise DataError(f"columns of different length in {row.key}", file=str(path))
    return rows


def write_rows(path: Path, rows: Iterable[StepRow]) -> None:
    """Write rows sorted by their keys, one a line."""
    ordered = sorted(rows, key=lambda row: row.key)
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in ordered))


def sizes_digest(shape: ModelShape) -> str:
    """Hex digits over all of a shape that cycles hang on: not its name, nor what only changes constants in memory."""
    return _digest(repr(shape.sizes))


def machine_digest(system: System) -> str:
    """Hex digits over every number of the chip and of the wiring."""
    return _digest(system.chip.fingerprint, repr((system.node, *system.tiers, system.ports)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGITS]
