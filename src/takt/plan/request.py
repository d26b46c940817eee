"""What is asked of a comparison: lengths, the latency to meet, and what may be chosen.

Sizes and limits only; knows neither models nor chips.
"""

from dataclasses import dataclass
from math import isfinite

from takt.chips import Accelerator
from takt.errors import UsageError, did_you_mean

__all__ = ["MOST_CHIPS", "PRECISIONS", "Request"]

PRECISIONS = ("auto", "bf16", "fp8", "fp4", "int8", "int4")
MOST_CHIPS = 4096
_MOST_TOKENS = 10_000_000
_MOST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Every user sends `prompt_tokens` and gets `output_tokens`, again and again.

    - `tpot_s`: seconds that a token may take on average after the first; `ttft_s`: seconds until the first one, None
      for any.
    - `max_chips`: chips that one copy of the model may take.
    - `precision`: one of `PRECISIONS`; `auto` is said in `precision.choose_precision`.
    - `engine`: one of `takt.perf.ENGINES`, or `auto` (`engine_on`).

    Raises UsageError for anything out of range.
    """

    prompt_tokens: int = 1024
    output_tokens: int = 256
    tpot_s: float = 0.020
    ttft_s: float | None = 1.0
    precision: str = "auto"
    engine: str = "auto"
    max_chips: int = 64

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens"):
            if not 1 <= getattr(self, name) <= _MOST_TOKENS:
                found = getattr(self, name)
                raise UsageError(f"{name} is {found:,}, expected 1 to {_MOST_TOKENS:,}")
        for name in ("tpot_s", "ttft_s"):
            seconds = getattr(self, name)
            if seconds is not None and not (isfinite(seconds) and 0 < seconds <= _MOST_SECONDS):
                raise UsageError(
                    f"{name} is {seconds:g} s, expected more than 0 and at most an hour"
                )
        if not 1 <= self.max_chips <= MOST_CHIPS:
            raise UsageError(f"max_chips is {self.max_chips:,}, expected 1 to {MOST_CHIPS:,}")
        if self.precision not in PRECISIONS:
            hint = did_you_mean(self.precision, PRECISIONS)
            known = f"known are {', '.join(PRECISIONS)}"
            raise UsageError(f"no precision '{self.precision}'", hint=hint or known)

    def engine_on(self, chip: Accelerator) -> str:
        """The engine asked for; `auto` is vLLM on GPUs, which most measurements are of, and no one's elsewhere."""
        if self.engine != "auto":
            return self.engine
        return "vllm" if chip.kind == "gpu" else "generic"

    @property
    def context_tokens(self) -> int:
        """Positions that a user's cache must hold."""
        return self.prompt_tokens + self.output_tokens
