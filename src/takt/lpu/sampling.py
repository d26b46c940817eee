"""From logits to tokens: how one is chosen, and the loop that feeds it back.

Knows temperature, top-k, top-p and when to stop. Knows no text: ids in, ids out.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from takt.errors import ModelError, UsageError
from takt.lpu.session import Session, StepResult

_STREAM = zlib.crc32(b"sampling")


@dataclass(slots=True, kw_only=True, eq=False)
class Sampler:
    """Chooses tokens. Temperature 0 takes the most likely one; otherwise `seed` fixes every draw.

    The logits are divided by `temperature`, cut to the `top_k` most likely (0: all), then to the
    fewest whose probabilities reach `top_p`. Among equal logits the lowest id comes first. Raises
    UsageError for values that make no sense.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    _draws: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature {self.temperature}: expected 0 or more")
        if self.top_k < 0:
            raise UsageError(f"top-k {self.top_k}: expected 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top-p {self.top_p}: expected more than 0, at most 1")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: expected 0 or more")
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, _STREAM]))
        self._draws = np.random.Generator(bits)

    def pick(self, logits: NDArray[np.float32]) -> int:
        """The next token, for logits [vocabulary]; one draw unless the temperature is 0.

        Raises ModelError where there is no largest logit.
        """
        values = np.where(np.isnan(logits), -np.inf, logits.astype(np.float64))
        best = int(np.argmax(values))
        if not math.isfinite(values[best]):
            raise ModelError("the model's logits are not numbers")
        if self.temperature == 0:
            return best
        ids = np.argsort(-values, kind="stable")
        ids = ids[: self.top_k] if self.top_k else ids
        with np.errstate(over="ignore"):  # a tiny temperature sends all but the largest to -inf
            weights = np.exp((values[ids] - values[best]) / self.temperature)
        reached = np.cumsum(weights)
        kept = int(np.searchsorted(reached, self.top_p * reached[-1])) + 1
        reached = reached[:kept]
        drawn = np.searchsorted(reached, self._draws.random() * reached[-1], side="right")
        return int(ids[min(int(drawn), len(reached) - 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One token and the program run whose logits chose it; for the first, the prompt's last run.

    `host_s` is what that run took this machine (for the first token: the whole prompt), and `fresh`
    says whether a program was made ready for the engine within it.
    """

    token: int
    result: StepResult
    host_s: float
    fresh: bool


@dataclass(slots=True, eq=False)
class Generation:
    """A prompt and what follows it: iterate over it once to run it; `prompt` and `tokens` then grow.

    It ends after `max_tokens`, after a token of `stop_ids` (which is given out), or when the
    compiled context is full; `stop` then says "length", "eos" or "context".
    """

    session: Session
    prompt_ids: Sequence[int]
    sampler: Sampler
    max_tokens: int
    stop_ids: Collection[int] = ()
    prompt: list[StepResult] = field(default_factory=list)
    tokens: list[Generated] = field(default_factory=list)
    stop: str = "length"

    def __post_init__(self) -> None:
        context = self.session.compiled.context
        if self.max_tokens < 1:
            raise UsageError(f"{self.max_tokens} tokens: expected 1 or more")
        if len(self.prompt_ids) > context:
            raise UsageError(
                f"the prompt has {len(self.prompt_ids):,} tokens, the context {context:,}",
                hint="shorten the prompt, or compile a longer context if the model allows one",
            )

    def __iter__(self) -> Iterator[Generated]:
        seen: set[str] = set()
        start = time.perf_counter()
        self.prompt = self.session.prompt(self.prompt_ids)
        result = self.prompt[-1]
        names = {run.step.program.name for run in self.prompt}
        for n in range(1, self.max_tokens + 1):
            token = self.sampler.pick(result.logits)
            host_s = time.perf_counter() - start
            made = Generated(token=token, result=result, host_s=host_s, fresh=not names <= seen)
            self.tokens.append(made)
            yield made
            seen |= names
            if token in self.stop_ids:
                self.stop = "eos"
                return
            if n == self.max_tokens:
                return
            if self.session.position >= self.session.compiled.context:
                self.stop = "context"
                return
            start = time.perf_counter()
            result = self.session.step(token)
            names = {result.step.program.name}
