"""How long prompts and answers are: distributions over whole tokens, their text forms, and pairs from recordings.

Every length is between 1 and the distribution's `most`. A sample takes the same numbers from its stream whether it is
drawn at once or in pieces. Knows no requests and no time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError

__all__ = [
    "MOST_TOKENS",
    "Constant",
    "Exponential",
    "Ints",
    "Length",
    "Lengths",
    "Lognormal",
    "Pairs",
    "Quantiles",
    "Uniform",
    "sizes_of",
]

MOST_TOKENS = 1 << 20
"""The longest text of a request, prompt and answer together."""
MOST_PAIRS = 20_000_000
_MOST_CV = 100.0

Ints = NDArray[np.int64]
Generator = np.random.Generator


def between(what: str, value: float, least: float, most: float) -> None:
    """UsageError unless a number lies in its limits (NaN never does)."""
    if not least <= value <= most:
        raise UsageError(f"{what} is {value:,.6g}, expected {least:,.6g} to {most:,.6g}")


def _normal(x: float) -> float:
    """Share of a standard normal distribution below x."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Always as many tokens."""

    tokens: int

    def __post_init__(self) -> None:
        between("a length", self.tokens, 1, MOST_TOKENS)

    @property
    def mean_tokens(self) -> float:
        """Mean length."""
        return float(self.tokens)

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] tokens."""
        return np.full(n, self.tokens, dtype=np.int64)

    def __str__(self) -> str:
        return f"{self.tokens}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Each whole number from `least` to `most` alike."""

    least: int
    most: int

    def __post_init__(self) -> None:
        between("the longest length", self.most, 1, MOST_TOKENS)
        between("the shortest length", self.least, 1, self.most)

    @property
    def mean_tokens(self) -> float:
        """Mean length."""
        return (self.least + self.most) / 2

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] tokens."""
        span = self.most - self.least + 1
        return self.least + (stream.random(n) * span).astype(np.int64)

    def __str__(self) -> str:
        return f"{self.least}-{self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """The geometric distribution on 1, 2, …: the exponential one in whole tokens. `mean` is that before the cut at `most`."""

    mean: float
    most: int = MOST_TOKENS

    def __post_init__(self) -> None:
        between("a mean length", self.mean, 1, MOST_TOKENS)
        between("the longest length", self.most, 1, MOST_TOKENS)

    @property
    def mean_tokens(self) -> float:
        """Mean length after the cut: Σ P(length ≥ k) over k ≤ most."""
        return (
            self.mean * -math.expm1(self.most * math.log1p(-1 / self.mean))
            if self.mean > 1
            else 1.0
        )

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] tokens."""
        drawn = stream.standard_exponential(n)
        if self.mean == 1:
            return np.ones(n, dtype=np.int64)
        return _whole(np.ceil(drawn / -math.log1p(-1 / self.mean)), self.most)

    def __str__(self) -> str:
        return f"exp:{_exact(self.mean)}{_cut(self.most)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Logarithms are normal; `mean` and `cv` (standard deviation ÷ mean) are those of the lengths before the cut at `most`."""

    mean: float
    cv: float
    most: int = MOST_TOKENS

    def __post_init__(self) -> None:
        between("a mean length", self.mean, 1, MOST_TOKENS)
        between("cv of a length", self.cv, 0, _MOST_CV)
        between("the longest length", self.most, 1, MOST_TOKENS)

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(math.log1p(self.cv * self.cv))

    @property
    def mu(self) -> float:
        """Mean of the logarithm."""
        return math.log(self.mean) - self.sigma**2 / 2

    @property
    def mean_tokens(self) -> float:
        """Mean length after the cut, but for the rounding to whole tokens."""
        if self.cv == 0:
            return min(self.mean, float(self.most))
        cut = (math.log(self.most) - self.mu) / self.sigma
        return self.mean * _normal(cut - self.sigma) + self.most * _normal(-cut)

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] tokens."""
        drawn = self.mu + self.sigma * stream.standard_normal(n)
        return _whole(np.rint(np.exp(np.minimum(drawn, 40.0))), self.most)

    def __str__(self) -> str:
        return f"lognormal:{_exact(self.mean)},{_exact(self.cv)}{_cut(self.most)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """A measured distribution: `tokens` at evenly spaced shares from the shortest (0) to the longest (1), linear between."""

    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.tokens) <= 10_001:
            raise UsageError(f"{len(self.tokens)} quantiles, expected 2 to 10,001")
        between("the shortest length", self.tokens[0], 1, MOST_TOKENS)
        between("the longest length", self.tokens[-1], 1, MOST_TOKENS)
        if not all(low <= high for low, high in pairwise(self.tokens)):
            raise UsageError("quantiles of a length must not fall")

    @property
    def mean_tokens(self) -> float:
        """Mean length, but for the rounding to whole tokens."""
        ends = (self.tokens[0] + self.tokens[-1]) / 2
        return (math.fsum(self.tokens) - ends) / (len(self.tokens) - 1)

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] tokens."""
        places = stream.random(n) * (len(self.tokens) - 1)
        values = np.interp(places, np.arange(len(self.tokens)), np.asarray(self.tokens))
        return _whole(np.rint(values), MOST_TOKENS)

    def __str__(self) -> str:
        middle = self.tokens[len(self.tokens) // 2]
        return f"as measured ({self.tokens[0]:.0f} to {self.tokens[-1]:.0f}, median {middle:.0f})"


Length = Constant | Uniform | Exponential | Lognormal | Quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Prompts and answers drawn on their own."""

    prompt: Length
    output: Length

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean lengths of prompts and of answers."""
        return self.prompt.mean_tokens, self.output.mean_tokens

    def sample(
        self, prompts: Generator, outputs: Generator, n: int
    ) -> tuple[Ints, Ints, Ints | None]:
        """([n] prompt, [n] output, [n] seen) tokens; seen is None where nothing of a prompt counts as cached."""
        return self.prompt.sample(prompts, n), self.output.sample(outputs, n), None

    def __str__(self) -> str:
        return f"prompts {self.prompt}, outputs {self.output}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Prompt and answer of one recorded request, drawn together and put back.

    `seen_tokens`: how much of each prompt its recording found cached; None where it does not say.
    """

    prompt_tokens: Ints
    output_tokens: Ints
    seen_tokens: Ints | None = None
    name: str = "a recording"

    def __post_init__(self) -> None:
        n = len(self.prompt_tokens)
        columns = (self.prompt_tokens, self.output_tokens, self.seen_tokens)
        if not 1 <= n <= MOST_PAIRS or any(len(c) != n for c in columns if c is not None):
            raise UsageError(f"lengths of {self.name}: as many prompts as outputs, at least one")
        for what, values in (("prompt", self.prompt_tokens), ("output", self.output_tokens)):
            between(f"the shortest {what} of {self.name}", int(values.min()), 1, MOST_TOKENS)
            between(f"the longest {what} of {self.name}", int(values.max()), 1, MOST_TOKENS)
        seen = self.seen_tokens
        if seen is not None and ((seen < 0) | (seen > self.prompt_tokens)).any():
            raise UsageError(f"cached tokens of {self.name} are part of their prompts")

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Mean lengths of prompts and of answers."""
        return float(self.prompt_tokens.mean()), float(self.output_tokens.mean())

    def sample(
        self, prompts: Generator, outputs: Generator, n: int
    ) -> tuple[Ints, Ints, Ints | None]:
        """([n] prompt, [n] output, [n] seen) tokens; all from the stream of prompts."""
        rows = (prompts.random(n) * len(self.prompt_tokens)).astype(np.int64)
        seen = None if self.seen_tokens is None else self.seen_tokens[rows]
        return self.prompt_tokens[rows], self.output_tokens[rows], seen

    def __str__(self) -> str:
        prompt, output = self.mean_tokens
        return f"lengths of {self.name} ({len(self.prompt_tokens):,} pairs, means {prompt:,.0f} and {output:,.0f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Figures of a set of lengths."""

    mean: float
    cv: float
    p50: float
    p90: float
    p99: float
    most: int

    def figures(self) -> dict[str, float]:
        """All of them by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def sizes_of(tokens: Ints) -> Sizes:
    """Mean, spread and percentiles of [n ≥ 1] lengths."""
    p50, p90, p99 = np.quantile(tokens, [0.5, 0.9, 0.99])
    mean = float(tokens.mean())
    return Sizes(
        mean=mean,
        cv=float(tokens.std()) / mean if mean else 0.0,
        p50=float(p50),
        p90=float(p90),
        p99=float(p99),
        most=int(tokens.max()),
    )


def pairs_of(
    prompt: Sequence[int], output: Sequence[int], seen: Sequence[int] | None, name: str
) -> Pairs:
    """`Pairs` of plain lists."""
    columns = [
        None if each is None else np.asarray(each, dtype=np.int64)
        for each in (prompt, output, seen)
    ]
    prompt_tokens, output_tokens, seen_tokens = columns
    assert prompt_tokens is not None and output_tokens is not None
    return Pairs(
        prompt_tokens=prompt_tokens, output_tokens=output_tokens, seen_tokens=seen_tokens, name=name
    )


def _whole(values: NDArray[np.float64], most: int) -> Ints:
    return np.clip(values, 1, most).astype(np.int64)


def _cut(most: int) -> str:
    return "" if most == MOST_TOKENS else f",max={most}"


def _exact(value: float) -> str:
    return f"{int(value)}" if value == int(value) else repr(value)
