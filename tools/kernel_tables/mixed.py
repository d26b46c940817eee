"""What a generating user costs in an attention call that reads prompts too, where one kernel serves both.

FlashAttention 2 gives each query a block of query rows of its own there: a single query takes as many operations as a
full block, once for every head, however few heads of keys there are, and walks its context in whole blocks of keys.
Fitted on `mixed_calls.csv`: calls of vLLM 0.19 and 0.28 on an RTX 4090 and an RTX PRO 6000, taken from the profiles of
LLMServingSim (MIT; every row names its file). Beyond the chip's cache, where the keys of one head of all users no longer
fit, heads read them again and calls take up to four times as long; such rows are left out, and nothing models them.
"""

from pathlib import Path

import numpy as np

from takt.chips import load_accelerator

from .columns import CHIPS, Table, read_columns, rows_where
from .tables import FitRow

__all__ = ["mixed_fits"]

_CALLS = Path(__file__).resolve().parent / "mixed_calls.csv"
_ENGINE = "vllm"
_WIDTH = 128  # of every head in the file
_KEYS = (32, 64, 128, 256)
_ROWS = np.geomspace(20, 500, 400)


def mixed_fits(walks: list[FitRow]) -> list[FitRow]:
    """(query rows at the chip's peak, keys of a block) by chip, and for other chips the middle of both; its error is the
    larger of each chip's on the other."""
    table = read_columns(_CALLS)
    of_chip = {row.chip: row.parameters[0] for row in walks}
    sets = {}
    for gpu in sorted(set(table["gpu"])):
        part = rows_where(table, table["gpu"] == gpu)
        chip = load_accelerator(CHIPS[gpu])
        reread = part["users"] * part["context_tokens"] * _WIDTH * 4 > chip.memory.on_chip_bytes
        peak = chip.ops_per_s("bf16")
        sets[chip.id] = _Calls(rows_where(part, ~reread), peak, of_chip[chip.id] / peak)
    found = {name: each.best() for name, each in sets.items()}
    rows, keys = zip(*found.values(), strict=True)
    middle = (float(np.exp(np.mean(np.log(rows)))), float(np.median(keys)))
    apart = [
        each.error(*found[other]) for name, each in sets.items() for other in sets if other != name
    ]
    out = [_row(name, found[name], each.error(*found[name]), each.n) for name, each in sets.items()]
    return [*out, _row("", middle, max(apart), sum(each.n for each in sets.values()))]


class _Calls:
    """Measured calls of one chip."""

    def __init__(self, part: Table, peak: float, walk_s: float) -> None:
        self.seconds = part["median_us"] * 1e-6
        self.prompt_s = part["prompt_alone_us"] * 1e-6
        self.heads = part["users"] * part["n_heads"]
        self.context = part["context_tokens"].astype(float)
        self.n = len(self.seconds)
        self.peak, self.walk_s = peak, walk_s

    def error(self, rows: float, keys: float) -> float:
        """Median relative error; blocks are counted exactly, the walk past one context hides behind the prompt's."""
        walked = np.ceil((self.context + 1) / keys) * keys
        blocks_s = 4 * _WIDTH * rows * self.heads * walked / self.peak
        alone_s = np.maximum(self.walk_s * self.context - self.prompt_s, 0.0)
        guess = self.prompt_s + np.maximum(blocks_s, alone_s)
        return float(np.median(np.abs(guess / self.seconds - 1)))

    def best(self) -> tuple[float, float]:
        """The parameters of the least error."""
        trials = [(float(rows), float(keys)) for keys in _KEYS for rows in _ROWS]
        return trials[int(np.argmin([self.error(*trial) for trial in trials]))]


def _row(chip: str, parameters: tuple[float, float], error: float, n: int) -> FitRow:
    return FitRow(
        chip=chip,
        family="mixed_attention",
        type_name=_ENGINE,
        parameters=parameters,
        error=error,
        n_samples=n,
    )
