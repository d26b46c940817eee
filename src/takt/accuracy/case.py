"""One measured configuration of a serving system, whatever file it came from.

Knows the vocabulary that all files of measurements share; not their columns (`readers`), and not
how a prediction is made.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Case", "Limits", "Load", "Measured", "Skip", "Split"]

Load = Literal["closed", "static", "offline", "open", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a model lies on chips: one worker of `tp` × `pp` × `dp` chips, `workers` times.

    `tp`: chips that share each matrix of attention; `dp`: such groups side by side, each with users
    of its own, sharing the experts; `pp`: stages of layers.
    `ep`: chips that share the experts, 1 where experts are cut like the rest (None: not said).
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int | None = None
    workers: int = 1

    @property
    def chips(self) -> int:
        """Chips of all workers: attention groups (`dp`) lie side by side, each of `tp` chips."""
        return self.tp * self.pp * self.dp * self.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured, None where a file does not say.

    Rates and power are of the whole system, not of one chip. `ttft_ms` and `tpot_ms` are medians
    where a file has them, else means. `step_ms`: one pass of a batch (encoders, images, prompts
    without generation).
    """

    tpot_ms: float | None = None
    ttft_ms: float | None = None
    output_tokens_per_s: float | None = None
    total_tokens_per_s: float | None = None
    requests_per_s: float | None = None
    j_per_output_token: float | None = None
    power_w: float | None = None
    step_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run had to hold while its rate was raised: bounds of a percentile, None where none."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    latency_ms: float | None = None
    percentile: float = 99.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A configuration and what was measured of it.

    - `where`: `file:line`. `dataset`: the family of files (`inferencex`, `mlperf`, …).
    - `series`: configurations measured together (same machine, engine, model, split, types; only
      load or lengths differ): cross-validation keeps them together.
    - `chip`, `model`: as the file spells them.
    - `n_chips`: all that serve, 0 where no one says; `split`: the one that generates; `prefill`: the
      one that reads prompts, if apart. `split_known` False: the file gives only the number of chips,
      and `split` puts them all into one tp group as a placeholder.
    - `load`: `closed` a constant number of users (`concurrency`); `static` one batch
      (`concurrency`) that starts and ends together; `offline` as many as fit, all sent at once
      (`concurrency` if bounded); `open` arrivals at `rate_per_s` (`concurrency` if bounded); `steps`
      single passes (`concurrency` is the batch).
    - `limits`: with an `open` load, `rate_per_s` is the highest that held them: a result, no input.
    - `prompt_tokens`, `output_tokens`: means for a request; `depth_tokens`: cached before the prompt.
    - `speculative`: `""`, `mtp` or `draft`. `weights`, `experts`, `kv`: types (`bf16`, `fp8`, `fp4`,
      `mxfp4`, `int8`, `int4`, …; "" unknown, or like `weights` for `experts`).
    - `weight_bits`: bits of a stored parameter, scales included, where the size of the file is known.
    - `date`: ISO, as precise as known; where the file has none the earliest that is possible.
    - `rows`: rows of the file that were summed into this case.
    """

    where: str
    dataset: str
    series: str
    chip: str
    model: str
    engine: str
    load: Load
    n_chips: int
    measured: Measured
    engine_version: str = ""
    date: str = ""
    weights: str = ""
    experts: str = ""
    kv: str = ""
    weight_bits: float | None = None
    split: Split = field(default_factory=Split)
    split_known: bool = True
    prefill: Split | None = None
    concurrency: float | None = None
    rate_per_s: float | None = None
    limits: Limits | None = None
    n_requests: int | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    depth_tokens: float = 0.0
    speculative: str = ""
    cached_fraction: float = 0.0
    rows: int = 1
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A row that can't be predicted, and why, in words that rows of one kind share."""

    where: str
    reason: str
