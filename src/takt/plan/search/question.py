"""What a search is asked: a model, its traffic, targets and limits, and what may be chosen.

Values only. Knows no chips but by their prices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from takt.chips import Accelerator
from takt.errors import UsageError
from takt.models.outlines import Outline
from takt.serving.workloads import Replay

from ..money import Tenure
from ..plans import Limits, Targets
from ..request import MOST_CHIPS, Request
from .site import Site, default_site
from .traffic import Rows, Sizes, Traffic, sizes_of

__all__ = ["Question"]

_ANY_S = 3600.0
_MOST_REQUESTS = 200_000
_SETTLED_SPANS = (
    8.0  # a simulation lasts as long as so many requests (or conversations), one after the other
)
_OWN_TOKENS = 8  # engines keep a few positions for themselves: SGLang six
_LEAST_STEP = 256
_SHARE = 40_000  # beyond so many requests a share of the fleet is simulated with its share of the traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to plan for.

    - `precisions`, `engine`, `max_chips`: of one copy, as in `takt.plan.Request`.
    - `prices`: dollars an hour of one chip by id, before the catalogue's of `tenure`.
    - `requests`: of one simulation; `replications`: seeds that the plans of the answer are simulated with.
    - `drafts`: (tokens guessed ahead, probability that the next guess holds); None without.

    Raises UsageError for anything out of range.
    """

    model: Outline
    traffic: Traffic
    targets: Targets = field(default_factory=Targets)
    limits: Limits = field(default_factory=Limits)
    precisions: tuple[str, ...] = ("auto",)
    engine: str = "auto"
    max_chips: int = 64
    tenure: Tenure = "rent"
    prices: Mapping[str, float] = field(default_factory=dict)
    site: Site = field(default_factory=default_site)
    drafts: tuple[int, float] | None = None
    requests: int = 4000
    replications: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not 100 <= self.requests <= _MOST_REQUESTS:
            raise UsageError(
                f"{self.requests:,} requests a simulation, expected 100 to {_MOST_REQUESTS:,}"
            )
        if not 2 <= self.replications <= 1000:
            raise UsageError(f"{self.replications} replications, expected 2 to 1,000")
        if not 1 <= self.max_chips <= MOST_CHIPS:
            raise UsageError(f"max_chips is {self.max_chips:,}, expected 1 to {MOST_CHIPS:,}")
        if not self.precisions:
            raise UsageError("no precision to choose from")

    def sizes(self) -> Sizes:
        """Sizes of the requests that seed `seed` draws."""
        return sizes_of(self.rows(self.traffic.rate, self.requests, self.seed))

    def rows(self, rate: float, requests: int, seed: int) -> Rows:
        """Drawn requests, kept to be simulated more than once."""
        return self.traffic.rows(rate, requests, seed)

    def request(self, sizes: Sizes, precision: str, *, longest: bool = False) -> Request:
        """The same in the words of a comparison: mean lengths (or the `longest` request's), and the targets."""
        prompt = sizes.longest - ceil(sizes.output) if longest else ceil(sizes.prompt)
        return Request(
            prompt_tokens=max(1, prompt),
            output_tokens=max(1, ceil(sizes.output)),
            tpot_s=self.targets.tpot_s or _ANY_S,
            ttft_s=self.targets.ttft_s,
            precision=precision,
            engine=self.engine,
            max_chips=self.max_chips,
        )

    def engine_on(self, chip: Accelerator) -> str:
        """The engine asked for, or what `auto` means on a chip."""
        return Request(engine=self.engine).engine_on(chip)

    def share(self, sizes: Sizes, rate: float) -> tuple[int, int]:
        """(requests of a simulation, n: one n-th of the fleet is simulated with one n-th of the traffic)."""
        span_s = (self.targets.ttft_s or 1.0) + sizes.output * (self.targets.tpot_s or 0.05)
        span_s = span_s * sizes.turns + sizes.wait_s
        needed = max(self.requests, ceil(_SETTLED_SPANS * span_s * rate))
        parts = max(1, ceil(needed / max(_SHARE, self.requests)))
        return ceil(needed / parts), parts

    def context_tokens(self, sizes: Sizes) -> int:
        """Positions that servers must give a request: the longest of all that are simulated, of a recording its longest.

        Rounded up by an eighth at most, to whole steps of 256; at most the model's own limit.
        """
        source = self.traffic.source
        if isinstance(source, Replay):
            longest = min(
                int((source.trace.prompt_tokens + source.trace.output_tokens).max()),
                source.max_context,
            )
        else:
            requests, share = self.share(sizes, self.traffic.rate)
            seeds = range(self.seed, self.seed + self.replications)
            drawn = (self.rows(self.traffic.rate / share, requests, seed) for seed in seeds)
            longest = max(sizes_of(rows).longest for rows in drawn)
        longest += _OWN_TOKENS
        step = max(_LEAST_STEP, 1 << max(longest.bit_length() - 4, 0))
        rounded = -(-longest // step) * step
        return min(rounded, self.model.max_context or rounded)
