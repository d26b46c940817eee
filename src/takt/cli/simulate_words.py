"""What `takt simulate` was asked for, as it was written: options as values, and the words that only this verb has.

`--decode CHIP:REPLICAS[:TP]`, `--autoscale LEAST[:LOAD]`, `--drafts N:ACCEPTANCE`, and spans of time. Knows no chips.
"""

import re
from dataclasses import dataclass
from typing import Literal

from takt.errors import UsageError

__all__ = ["Decoders", "Failing", "Order", "Router", "Scaling", "Split", "System", "at_least_one", "decoders_of", "drafts_of", "scaling_of", "span_of"]  # fmt: skip

# As written, until room `serving` says which there are.
Order = Literal["fcfs", "priority", "deadline"]
Router = Literal["round-robin", "least-loaded", "prefix-aware", "deadline-aware"]

_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_SPAN = re.compile(r"(\d{1,12}(?:\.\d{0,9})?|\.\d{1,9}) ?(ms|s|min|h|d)")
_WHOLE = re.compile(r"\d{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A layout, None where nothing was said of a part."""

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "ep"):
            at_least_one(f"--{name}", getattr(self, name))

    @property
    def stated(self) -> bool:
        """Whether any part was."""
        return any(part is not None for part in (self.tp, self.pp, self.dp, self.ep))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoders:
    """A pool that generates what another has read; `tp` None: the smallest layout."""

    chip: str
    replicas: int
    tp: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas by load; None: the simulator's default."""

    least: int
    target_load: int | None
    startup_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """How often a replica fails on average, and how long it is down then."""

    mtbf_s: float
    repair_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What serves, as it was asked for; None and "auto" leave the choice to Takt."""

    chip: str
    replicas: int
    split: Split
    decode: Decoders | None
    precision: str
    engine: str
    max_seqs: int | None
    max_step_tokens: int | None
    prefix_caching: bool
    order: Order
    router: Router
    drafts: tuple[int, float] | None
    scaling: Scaling | None
    failing: Failing | None
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    max_waiting: int
    corrections: bool
    own: bool
    prices: tuple[str, ...]

    def __post_init__(self) -> None:
        at_least_one("--replicas", self.replicas)
        at_least_one("--max-seqs", self.max_seqs)
        at_least_one("--max-step-tokens", self.max_step_tokens)
        if self.scaling and self.scaling.least > self.replicas:
            raise UsageError(
                f"--autoscale {self.scaling.least}: there are {self.replicas} --replicas at most"
            )


def at_least_one(option: str, value: int | None) -> None:
    """UsageError for a number below 1."""
    if value is not None and value < 1:
        raise UsageError(f"{option} {value:,}: expected 1 or more")


def span_of(option: str, text: str) -> float:
    """Seconds of `90s`, `10min`, `36h`, `30d`: the unit is always said."""
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= 1e9:
        hint = "a time with its unit, such as 90s, 10min, 36h or 30d"
        raise UsageError(f"{option} {text[:40]!r} is no time", hint=hint)
    return seconds


def decoders_of(text: str) -> Decoders:
    """`h200-sxm:2`, `h200-sxm:2:4`; the chip may be a file."""
    hint = "CHIP:REPLICAS or CHIP:REPLICAS:TP, such as h200-sxm:2 or lpu-v1:1"
    chip, *numbers = text.rsplit(":", 2)
    if len(numbers) == 2 and not _WHOLE.fullmatch(numbers[0]):
        chip, numbers = f"{chip}:{numbers[0]}", numbers[1:]
    values = [int(each) if _WHOLE.fullmatch(each) else 0 for each in numbers]
    if not chip or not values or 0 in values:
        raise UsageError(f"--decode {text[:60]!r} is no pool", hint=hint)
    return Decoders(chip=chip, replicas=values[0], tp=values[1] if len(values) == 2 else None)


def scaling_of(text: str, startup: str | None) -> Scaling:
    """`2` or `2:24`: fewest replicas, and requests on each to aim at."""
    least, colon, load = text.partition(":")
    values = [int(each) if _WHOLE.fullmatch(each) else 0 for each in ((least, load) if colon else (least,))]  # fmt: skip
    if 0 in values:
        hint = "LEAST or LEAST:LOAD, such as 1 or 2:24 (replicas, requests on each)"
        raise UsageError(f"--autoscale {text[:40]!r}: expected whole numbers from 1", hint=hint)
    return Scaling(
        least=values[0],
        target_load=values[1] if colon else None,
        startup_s=None if startup is None else span_of("--startup", startup),
    )


def drafts_of(tokens: int | None, acceptance: float | None) -> tuple[int, float] | None:
    """Tokens guessed ahead, and how often the next guess holds; UsageError for one without the other."""
    if (tokens is None) != (acceptance is None):
        raise UsageError(
            "--drafts and --acceptance come together",
            hint="--drafts 3 --acceptance 0.7: three tokens guessed ahead, each held with 70 %",
        )
    if tokens is None or acceptance is None:
        return None
    if not 1 <= tokens <= 64 or not 0.0 <= acceptance <= 1.0:
        raise UsageError("--drafts is from 1 to 64 tokens, --acceptance from 0 to 1")
    return tokens, acceptance
