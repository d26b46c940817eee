"""Simulations of candidate plans: the same requests for all of them, and figures over several seeds.

A simulator asks for requests by seed and gives what one fleet made of them. Requests are drawn once for each
(rate, number, seed) and kept, so that plans differ by what they are and not by what they were sent. Knows no search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from takt.serving.outcome import Latency, Outcome
from takt.serving.replications import Interval
from takt.serving.simulate import simulate

from ..plans import Figures, Measure, Targets
from .question import Question
from .site import default_site
from .traffic import Rows, Sizes
from .ways import Counts, Way, tiers_of

__all__ = ["Trials", "figures_of", "meter_kw", "missed", "misses"]

_WARM = 0.2  # of the requests of a simulation, while the fleet fills up
_LATENCIES = ("ttft", "tpot", "e2e")
_PERCENTILES = ("mean", "p50", "p90", "p99")
_CURVE_POINTS = 60


@dataclass(slots=True, eq=False)
class Trials:
    """Runs simulations for one question at one rate; owns drawn requests and counts runs."""

    question: Question
    sizes: Sizes
    rate: float
    runs: int = 0
    _rows: dict[int, Rows] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """One n-th of a fleet is simulated with one n-th of the traffic."""
        return self.question.share(self.sizes, self.rate)[1]

    def run(self, way: Way, counts: Counts, seed: int) -> Outcome:
        """One simulation."""
        requests, share = self.question.share(self.sizes, self.rate)
        if seed not in self._rows:
            self._rows[seed] = self.question.rows(self.rate / share, requests, seed)
        tiers = tiers_of(self.question.targets, self.question.traffic.tiers)
        fleet = way.fleet(counts, tiers, share)
        self.runs += 1
        warmup = min(int(_WARM * requests), requests - 1)
        return simulate(self._rows[seed], fleet, seed=seed, warmup=warmup)

    def seeds(self) -> range:
        """Seeds of replications; the first is that of the search."""
        return range(self.question.seed, self.question.seed + self.question.replications)


def _latency(outcome: Outcome, name: str) -> Latency | None:
    found: Latency | None = getattr(outcome, f"{name}_ms")
    return found


def missed(outcome: Outcome, targets: Targets) -> tuple[str, ...]:
    """Which targets one run missed: names of `Targets`. A request that was turned away misses all."""
    out = []
    for name in _LATENCIES:
        most = getattr(targets, f"{name}_s")
        if most is None:
            continue
        latency = _latency(outcome, name)
        if latency is None:
            continue
        if getattr(latency, getattr(targets, f"{name}_at")) > 1e3 * most:
            out.append(name)
    if outcome.completed < outcome.requests:
        out.append("completed")
    return tuple(out)


def misses(outcomes: Sequence[Outcome], targets: Targets) -> tuple[str, ...]:
    """Sentences on the targets that are not met with 95 % confidence over the seeds."""
    out = []
    for name in _LATENCIES:
        most, at = getattr(targets, f"{name}_s"), getattr(targets, f"{name}_at")
        if most is None:
            continue
        found = [latency for each in outcomes if (latency := _latency(each, name)) is not None]
        if not found:
            continue
        interval = Interval.of([getattr(latency, at) for latency in found])
        if interval.mean + (interval.half_width or 0.0) > 1e3 * most:
            spread = f" ± {interval.half_width:.3g}" if interval.half_width else ""
            words = {"ttft": "first token", "tpot": "a token", "e2e": "whole answer"}[name]
            out.append(f"{words} {at} {interval.mean:.4g}{spread} ms, asked for {1e3 * most:.4g} ms")
    lost = sum(each.requests - each.completed for each in outcomes)
    if lost:
        out.append(f"{lost:,} of {sum(each.requests for each in outcomes):,} requests turned away")
    return tuple(out)


def figures_of(
    question: Question, way: Way, counts: Counts, outcomes: Sequence[Outcome]
) -> Figures:
    """What a plan gives: means over the seeds, money and watts by what is installed."""
    tokens_per_s = way.rate * way.output
    energies = [each.energy_j_per_token for each in outcomes]
    joules = None if None in energies or not energies else _mean(energies)
    usd = None if way.unpriced(counts) else way.usd_per_h(counts)
    kwh = None if joules is None else joules * _at_meter(way, counts) / 3.6
    if usd is not None and kwh is not None:
        usd += _power_surcharge(question, kwh * tokens_per_s * 3600 / 1e6)
    pace_ms = _mean([each.tpot_ms.mean if each.tpot_ms else None for each in outcomes])
    return Figures(
        ttft_s=_measures(outcomes, "ttft"),
        tpot_s=_measures(outcomes, "tpot"),
        e2e_s=_measures(outcomes, "e2e"),
        goodput=_mean([each.goodput for each in outcomes]) or 0.0,
        throughput_tok_s=_mean([each.throughput_tok_s for each in outcomes]) or 0.0,
        tokens_per_s_user=1e3 / pace_ms if pace_ms else 0.0,
        utilisation=_mean([_weighted(each, "utilisation") for each in outcomes]) or 0.0,
        kv_occupancy=_mean([_weighted(each, "kv_mean") for each in outcomes]) or 0.0,
        usd_per_h=usd,
        usd_per_mtok=None if usd is None else usd / (tokens_per_s * 3600) * 1e6,
        j_per_token=joules,
        mw=way.mw(counts),
        floor_m2=way.m2(counts),
        kg_co2_per_mtok=None if kwh is None else kwh * question.site.carbon_kg_per_kwh,
        requests=sum(each.requests for each in outcomes),
        replications=len(outcomes),
        curves={name: outcomes[0].curve(name, _CURVE_POINTS) for name in _LATENCIES},
    )


def meter_kw(way: Way, counts: Counts, figures: Figures) -> float | None:
    """Kilowatts at the meter on average; None where a chip's power is unknown."""
    if figures.j_per_token is None:
        return None
    return figures.j_per_token * _at_meter(way, counts) * way.rate * way.output / 1e3


def _power_surcharge(question: Question, kw: float) -> float:
    """Dollars an hour by which power costs more than in the catalogue's prices, which include it."""
    from_catalogue = default_site().power_usd_per_kwh
    return kw * (question.site.power_usd_per_kwh - from_catalogue)


def _at_meter(way: Way, counts: Counts) -> float:
    """Joules at the meter for each of the chips: the parts' by their number of chips and watts."""
    weights = [
        (part.meter_w or float(part.pool.chips)) * n
        for part, n in zip(way.parts, counts, strict=True)
    ]
    total = sum(
        weight * part.at_meter for weight, part in zip(weights, way.parts, strict=True)
    )
    return total / sum(weights)


def _measures(outcomes: Sequence[Outcome], name: str) -> Mapping[str, Measure]:
    found = [latency for each in outcomes if (latency := _latency(each, name)) is not None]
    if not found:
        return {}
    out = {}
    for at in _PERCENTILES:
        interval = Interval.of([getattr(latency, at) / 1e3 for latency in found])
        out[at] = Measure(mean=interval.mean, half_width=interval.half_width)
    return out


def _weighted(outcome: Outcome, name: str) -> float | None:
    """Of pools, by their chips."""
    parts = [(getattr(pool, name), pool.replicas * pool.chips) for pool in outcome.pools]
    known = [(value, weight) for value, weight in parts if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
