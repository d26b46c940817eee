"""Simulations of candidate plans: the same requests for all of them, and figures over several seeds.

Requests are drawn once for each (rate, number, seed) and kept, so that plans differ by what they are and not by what they were
sent. Runs go through `takt.serving.sweeps` where there is a store to resume from or a runner to share them; here and
now otherwise. Knows no search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from takt.serving import Fleet, simulate
from takt.serving.results import LATENCIES as KNOWN
from takt.serving.results import Interval, Outcome
from takt.serving.sweeps import Runner, Store, Task, sweep

from ..plans import Figures, Measure, Targets
from .question import Question
from .site import default_site
from .traffic import Rows, Sizes
from .ways import Counts, Way, tiers_of

__all__ = [
    "LATENCIES",
    "Run",
    "Trial",
    "Trials",
    "catalogue_share",
    "figures_of",
    "meter_kw",
    "missed",
    "misses",
    "power_surcharge",
    "run_trial",
]

LATENCIES = tuple(name for name in KNOWN if name != "queue")  # those that targets are of
_WARM = 0.2  # of the requests of a simulation, while the fleet fills up
_PERCENTILES = ("mean", "p50", "p90", "p99")
_CURVE_POINTS = 60
_CURVES = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One simulation to be run, whole: what a task of a sweep is named by."""

    fleet: Fleet
    rows: Rows
    seed: int
    warmup: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a search keeps of an outcome. Latencies by name (`LATENCIES`) and percentile, in milliseconds.

    `utilisation`, `kv_occupancy`: of all pools, by their chips. `curves`: (seconds, share of requests).
    """

    requests: int
    completed: int
    too_long: int
    latency_ms: Mapping[str, Mapping[str, float]]
    goodput: float
    throughput_tok_s: float
    j_per_token: float | None
    utilisation: float
    kv_occupancy: float
    curves: Mapping[str, _CURVES]


def run_trial(trial: Trial) -> Run:
    """Run it."""
    outcome = simulate(trial.rows, trial.fleet, seed=trial.seed, warmup=trial.warmup)
    latencies = {name: getattr(outcome, f"{name}_ms") for name in LATENCIES}
    return Run(
        requests=outcome.requests,
        completed=outcome.completed,
        too_long=outcome.too_long,
        latency_ms={
            name: {at: getattr(latency, at) for at in _PERCENTILES}
            for name, latency in latencies.items()
            if latency is not None
        },
        goodput=outcome.goodput or 0.0,
        throughput_tok_s=outcome.throughput_tok_s,
        j_per_token=outcome.energy_j_per_token,
        utilisation=_by_chips(outcome, "utilisation"),
        kv_occupancy=_by_chips(outcome, "kv_mean"),
        curves={name: outcome.curve(name, _CURVE_POINTS) for name in LATENCIES},
    )


def _by_chips(outcome: Outcome, name: str) -> float:
    parts = [(getattr(pool, name), pool.replicas * pool.chips) for pool in outcome.pools]
    known = [(value, weight) for value, weight in parts if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else 0.0


@dataclass(slots=True, eq=False)
class Trials:
    """Runs simulations for one question at one rate; owns drawn requests and counts runs.

    `runner` shares out batches of runs; `store` keeps every run and is asked first.
    """

    question: Question
    sizes: Sizes
    rate: float
    runner: Runner | None = None
    store: Store | None = None
    runs: int = 0
    _rows: dict[int, Rows] = field(default_factory=dict)

    def run(self, way: Way, counts: Counts, seed: int) -> Run:
        """One simulation."""
        self.runs += 1
        trial = self._trial(way, counts, seed)
        if self.store is None:
            return run_trial(trial)
        (result,) = sweep([_task(way, counts, trial)], store=self.store)
        return result.read(Run)

    def every(self, wanted: Sequence[tuple[Way, Counts]]) -> list[list[Run]]:
        """All seeds of each."""
        seeds = self.seeds()
        self.runs += len(wanted) * len(seeds)
        if self.store is None and self.runner is None:
            return [[run_trial(self._trial(*each, seed)) for seed in seeds] for each in wanted]
        tasks = [_task(*each, self._trial(*each, seed)) for each in wanted for seed in seeds]
        results = [
            result.read(Run) for result in sweep(tasks, runner=self.runner, store=self.store)
        ]
        n = len(seeds)
        return [results[i * n : (i + 1) * n] for i in range(len(wanted))]

    def seeds(self) -> range:
        """Seeds of replications; the first is that of the search."""
        return range(self.question.seed, self.question.seed + self.question.replications)

    def _trial(self, way: Way, counts: Counts, seed: int) -> Trial:
        """A fleet, or a share of it with its share of the traffic."""
        requests, share = self.question.share(self.sizes, self.rate)
        if seed not in self._rows:
            self._rows[seed] = self.question.rows(self.rate / share, requests, seed)
        tiers = tiers_of(self.question.targets, self.question.traffic.tiers)
        warmup = min(int(_WARM * requests), requests - 1)
        return Trial(
            fleet=way.fleet(counts, tiers, share), rows=self._rows[seed], seed=seed, warmup=warmup
        )


def _task(way: Way, counts: Counts, trial: Trial) -> Task[Trial]:
    return Task(function=run_trial, arguments=trial, name=f"{way.id_of(counts)}, seed {trial.seed}")


def missed(run: Run, targets: Targets) -> tuple[str, ...]:
    """Which targets one run missed: names of `LATENCIES`, and `completed` where requests were turned away."""
    out = []
    for name in LATENCIES:
        most, at = getattr(targets, f"{name}_s"), getattr(targets, f"{name}_at")
        if most is None or _has_none(run, name):
            continue
        if run.latency_ms.get(name, {}).get(at, inf) > 1e3 * most:
            out.append(name)
    if run.completed < run.requests:
        out.append("completed")
    return tuple(out)


def misses(runs: Sequence[Run], targets: Targets) -> tuple[str, ...]:
    """Sentences on the targets that are not met with 95 % confidence over the seeds."""
    out = []
    for name in LATENCIES:
        most, at = getattr(targets, f"{name}_s"), getattr(targets, f"{name}_at")
        if most is None or all(_has_none(run, name) for run in runs):
            continue
        words = {"ttft": "first token", "tpot": "a token", "e2e": "whole answer"}[name]
        found = [run.latency_ms[name][at] for run in runs if name in run.latency_ms]
        if not found:
            out.append(
                f"{words}: nothing of {sum(run.requests for run in runs):,} requests was measured"
            )
            continue
        interval = Interval.of(found)
        if interval.mean + (interval.half_width or 0.0) > 1e3 * most:
            spread = f" ± {interval.half_width:.3g}" if interval.half_width else ""
            out.append(
                f"{words} {at} {interval.mean:.4g}{spread} ms, asked for {1e3 * most:.4g} ms"
            )
    lost = sum(run.requests - run.completed for run in runs)
    if lost:
        out.append(f"{lost:,} of {sum(run.requests for run in runs):,} requests turned away")
    return tuple(out)


def _has_none(run: Run, name: str) -> bool:
    """Whether answers of one token each leave no time between tokens; not whether nothing was measured at all."""
    return name == "tpot" and "tpot" not in run.latency_ms and "e2e" in run.latency_ms


def figures_of(question: Question, way: Way, counts: Counts, runs: Sequence[Run]) -> Figures:
    """What a plan gives: means over the seeds, money and watts by what is installed."""
    tokens_per_s = way.rate * way.output
    energies = [run.j_per_token for run in runs if run.j_per_token is not None]
    joules = _mean(energies) if len(energies) == len(runs) else None
    usd = None if way.unpriced(counts) else way.usd_per_h(counts)
    kwh = None if joules is None else joules * _at_meter(way, counts) / 3.6
    if usd is not None and kwh is not None:
        usd += power_surcharge(question, way, counts, kwh * tokens_per_s * 3600 / 1e6)
    pace_ms = _mean([run.latency_ms["tpot"]["mean"] for run in runs if "tpot" in run.latency_ms])
    return Figures(
        ttft_s=_measures(runs, "ttft"),
        tpot_s=_measures(runs, "tpot"),
        e2e_s=_measures(runs, "e2e"),
        goodput=_mean([run.goodput for run in runs]),
        throughput_tok_s=_mean([run.throughput_tok_s for run in runs]),
        tokens_per_s_user=1e3 / pace_ms if pace_ms else None,
        utilisation=_mean([run.utilisation for run in runs]),
        kv_occupancy=_mean([run.kv_occupancy for run in runs]),
        usd_per_h=usd,
        usd_per_mtok=None if usd is None else usd / (tokens_per_s * 3600) * 1e6,
        j_per_token=joules,
        mw=way.mw(counts),
        floor_m2=way.m2(counts),
        kg_co2_per_mtok=None if kwh is None else kwh * question.site.carbon_kg_per_kwh,
        requests=sum(run.requests for run in runs),
        replications=len(runs),
        curves=runs[0].curves,
    )


def meter_kw(way: Way, counts: Counts, figures: Figures) -> float | None:
    """Kilowatts at the meter on average; None where a chip's power is unknown."""
    if figures.j_per_token is None:
        return None
    return figures.j_per_token * _at_meter(way, counts) * way.rate * way.output / 1e3


def power_surcharge(question: Question, way: Way, counts: Counts, kw: float) -> float:
    """Dollars an hour by which power costs more than in the catalogue's prices, which include it.

    Where it costs less, only prices of the catalogue become less: what somebody states is not known to hold any of it.
    """
    dearer = question.site.power_usd_per_kwh - default_site().power_usd_per_kwh
    return kw * dearer * (1.0 if dearer > 0 else catalogue_share(question, way, counts))


def catalogue_share(question: Question, way: Way, counts: Counts) -> float:
    """Of a fleet's watts, the share of chips at prices of the catalogue."""
    weights = _watts(way, counts)
    stated = [any(chip in question.prices for chip in part.chips) for part in way.parts]
    own = sum(weight for weight, each in zip(weights, stated, strict=True) if each)
    return 1.0 - own / sum(weights)


def _at_meter(way: Way, counts: Counts) -> float:
    """Joules at the meter for each of the chips: the parts' by their number of chips and watts."""
    weights = _watts(way, counts)
    total = sum(weight * part.at_meter for weight, part in zip(weights, way.parts, strict=True))
    return total / sum(weights)


def _watts(way: Way, counts: Counts) -> list[float]:
    """How much each part weighs in the fleet's power: by its limit, or by chips where that is unknown."""
    return [
        (part.meter_w or float(part.pool.chips)) * n
        for part, n in zip(way.parts, counts, strict=True)
    ]


def _measures(runs: Sequence[Run], name: str) -> Mapping[str, Measure]:
    found = [run.latency_ms[name] for run in runs if name in run.latency_ms]
    out = {}
    for at in _PERCENTILES if found else ():
        interval = Interval.of([latency[at] / 1e3 for latency in found])
        out[at] = Measure(mean=interval.mean, half_width=interval.half_width)
    return out


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
