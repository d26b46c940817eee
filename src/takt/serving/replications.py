"""The same system under several seeds: how sure a figure is, and whether one system is better than another or it is noise.

    cheap, fast = (replicate(partial(run, fleet), range(10)) for fleet in fleets)
    cheap.interval("ttft_ms.p99")                    412 ± 9
    compare(cheap, fast, "usd_per_mtok").verdict     A is 12 % cheaper than B (95 %: 9–15 %)

Seeds give independent runs; the same seed gives both systems the same requests, so that they are compared in pairs and what
they have in common drops out. Names of figures are those of `outcome_json`. Knows no simulator: `run` is the caller's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from takt.errors import UsageError

from .outcome import Outcome
from .outcome_json import figure
from .student_t import half_width_95

__all__ = ["Comparison", "Interval", "Replicated", "compare", "replicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and half the width of its 95 % confidence interval; None where one value says nothing of it."""

    mean: float
    half_width: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Of independent values, one a seed. UsageError for none."""
        if not values:
            raise UsageError("an interval needs a value")
        return cls(
            mean=sum(values) / len(values), half_width=half_width_95(list(values)), n=len(values)
        )

    @property
    def low(self) -> float | None:
        """Its lower end."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Its upper end."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def sign(self) -> int:
        """-1 or 1 where all of it is below or above zero, else 0: no difference beyond noise, or too few values."""
        if self.low is None or self.high is None:
            return 0
        return -1 if self.high < 0 else int(self.low > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicated:
    """One system's outcomes, each under the seed at the same place."""

    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]

    def __post_init__(self) -> None:
        if not self.seeds or len(self.seeds) != len(self.outcomes):
            raise UsageError("replications are one or more seeds with an outcome each")
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError("a seed comes twice: its run says nothing new")

    def values(self, name: str) -> tuple[float | None, ...]:
        """A figure of each run; None where it is unknown. UsageError for a name that no outcome has."""
        return tuple(figure(outcome, name) for outcome in self.outcomes)

    def interval(self, name: str) -> Interval | None:
        """Mean and confidence of a figure over the seeds; None where a run does not have it."""
        known = _known(self.values(name))
        return None if known is None else Interval.of(known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A against B in one figure, seed by seed.

    `difference`: A − B; `relative`: A ÷ B − 1, None where B is 0 under some seed. `verdict` is a sentence.
    """

    figure: str
    difference: Interval
    relative: Interval | None
    verdict: str

    @property
    def sign(self) -> int:
        """-1 where A's figure is surely lower, 1 where it is surely higher, else 0."""
        return (self.relative or self.difference).sign


def replicate(run: Callable[[int], Outcome], seeds: Iterable[int]) -> Replicated:
    """`run` under each seed in turn. UsageError for no seed or one that comes twice, before anything is run."""
    tried = tuple(seeds)
    if not tried or len(set(tried)) != len(tried):
        raise UsageError("replications need one or more seeds, all different")
    return Replicated(seeds=tried, outcomes=tuple(run(seed) for seed in tried))


def compare(
    a: Replicated, b: Replicated, name: str, *, names: tuple[str, str] = ("A", "B")
) -> Comparison:
    """Is A's figure lower or higher than B's? Both must have run under the same seeds.

    UsageError where they did not, or where a run does not have the figure.
    """
    if a.seeds != b.seeds:
        raise UsageError("systems are compared under the same seeds in the same order")
    ours, theirs = _known(a.values(name)), _known(b.values(name))
    if ours is None or theirs is None:
        raise UsageError(f"{names[0] if ours is None else names[1]} has no {name} under some seed")
    pairs = list(zip(ours, theirs, strict=True))
    difference = Interval.of([x - y for x, y in pairs])
    relative = Interval.of([x / y - 1 for x, y in pairs]) if all(theirs) else None
    verdict = _verdict(name, difference, relative, *names)
    return Comparison(figure=name, difference=difference, relative=relative, verdict=verdict)


def _known(values: Iterable[float | None]) -> list[float] | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _verdict(
    name: str, difference: Interval, relative: Interval | None, ours: str, theirs: str
) -> str:
    shown = relative or difference
    scale, unit = (100.0, " %") if relative else (1.0, "")
    if shown.half_width is None or shown.low is None or shown.high is None:
        change = _signed(shown.mean * scale)
        return f"{name}: {ours} is {change}{unit} off {theirs}; one seed says nothing about noise"
    if not shown.sign:
        low, high = _signed(shown.low * scale), _signed(shown.high * scale)
        return f"{name}: no difference beyond noise between {ours} and {theirs} (95 %: {low} to {high}{unit})"
    ends = sorted(abs(end) * scale for end in (shown.low, shown.high))
    span = f"95 %: {ends[0]:.3g}–{ends[1]:.3g}{unit}"
    size = f"{abs(shown.mean) * scale:.3g}{unit}"
    if name.rpartition(".")[2].startswith("usd"):
        word = "cheaper" if shown.sign < 0 else "dearer"
        return f"{ours} is {size} {word} than {theirs} ({span})"
    word = "lower" if shown.sign < 0 else "higher"
    return f"{name} of {ours} is {size} {word} than of {theirs} ({span})"


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")
