"""The same measured rows by the closed loop and by simulation: a sample of them, both predictions, and their errors.

Only rows with a constant number of users and known lengths. The sample is the same for the same rows: as many as can be
from each file, chip and engine. Steps are multiplied by what the corrections make of the row's time between tokens, as
the closed loop's is; waiting has no correction in a simulation, because what was fitted is the closed loop's own error in it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import TaktError
from takt.perf.corrections import Figure

from ..case import Case
from ..compute import Computed
from ..digest import digest_of
from ..metrics import Metric, grouped_metrics, ratios
from ..observe import Observation
from ..report import Scored
from ..setups import Setup, setup_of
from .protocol import Statistic, protocol_of
from .steady import Steady, SteadySetup, largest, steady_of

__all__ = ["FIGURES", "Beside", "Left", "metrics_of", "sampled", "simulated_beside"]

Floats = NDArray[np.float64]
FIGURES: tuple[Figure, ...] = ("tpot", "ttft", "throughput")
# Names of dimensions that are spelled otherwise in a situation.
_FIELDS = {"dataset": "campaign"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Rows of the sample that could not be simulated, and why."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Figures of `n_cases` cases of `n_suited`: logarithms as `Observation` has them, one a row.

    `closed`: predicted by the closed loop; `simulated`: by simulation of the same setup and load.
    """

    rows: tuple[Observation, ...]
    closed: Floats
    simulated: Floats
    n_suited: int
    n_cases: int
    left: tuple[Left, ...]


def simulated_beside(
    scored: Scored,
    *,
    n_rows: int,
    seed: int = 0,
    ttft: Statistic | None = None,
    progress: Progress | None = None,
) -> Beside:
    """Simulate `n_rows` of the rows that suit (0: all of them); `progress` hears (cases done, cases).

    `ttft`: the figure over requests that measured times to the first token are taken for, where not as protocols say.
    """
    figures = _figures_of(scored)
    suited = [entry for entry in figures.values() if _suits(entry.item.case)]
    chosen = sampled([entry.item for entry in suited], n_rows)
    found: list[tuple[Observation, float, float]] = []
    reasons: Counter[str] = Counter()
    done = 0
    for setup, items in _by_setup(chosen).items():
        table = _table(setup, [item.case for item in items])
        for item in items:
            if progress is not None:
                progress(done, len(chosen))
            done += 1
            entry = figures[id(item)]
            try:
                steady = _steady(table, item.case, entry.factor, seed)
            except TaktError as error:
                reasons[str(error).split("\n")[0]] += 1
                continue
            found += _rows(entry, steady, ttft)
    left = tuple(Left(reason=r, count=n) for r, n in sorted(reasons.items()))
    return Beside(
        rows=tuple(row for row, _, _ in found),
        closed=np.asarray([closed for _, closed, _ in found]),
        simulated=np.asarray([simulated for _, _, simulated in found]),
        n_suited=len(suited),
        n_cases=len(chosen) - sum(reasons.values()),
        left=left,
    )


def metrics_of(
    beside: Beside, dimensions: Sequence[str] = ()
) -> dict[tuple[str, ...], dict[str, dict[Figure, Metric]]]:
    """Values of the `dimensions` → `closed` and `simulated` → figure → metric; without dimensions one key, ()."""
    fields = [_FIELDS.get(name, name) for name in dimensions]

    def key(row: Observation) -> tuple[str, ...]:
        return tuple(str(getattr(row.situation, field)) for field in fields)

    found: dict[tuple[str, ...], dict[str, dict[Figure, Metric]]] = defaultdict(dict)
    for name, predicted in (("closed", beside.closed), ("simulated", beside.simulated)):
        ratio = ratios(beside.rows, predicted)
        for values, by_figure in grouped_metrics(beside.rows, ratio, key).items():
            found[values][name] = by_figure
    return dict(found)


def sampled(items: Sequence[Computed], n_rows: int) -> list[Computed]:
    """`n_rows` of them (0: all), in their order: one of each file, chip and engine in turn, by the digest of a row."""
    if not n_rows or n_rows >= len(items):
        return list(items)
    strata: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for i, item in enumerate(items):
        key = (item.case.dataset, item.situation.chip, item.situation.engine)
        strata[key].append((digest_of(item.case), i))
    queues = [sorted(members) for _, members in sorted(strata.items())]
    chosen: list[int] = []
    depth = 0
    while len(chosen) < n_rows:
        turn = [queue[depth][1] for queue in queues if depth < len(queue)]
        chosen += turn[: n_rows - len(chosen)]
        depth += 1
    return [items[i] for i in sorted(chosen)]


@dataclass(slots=True)
class _Entry:
    """A case with its observations and what the closed loop predicts of each; `factor`: of times of its steps."""

    item: Computed
    rows: list[tuple[Observation, float]]

    @property
    def factor(self) -> float:
        """What the corrections make of its time between tokens; of its rate where only that was measured."""
        by_figure = {row.figure: predicted - row.computed for row, predicted in self.rows}
        for figure in ("tpot", "throughput", "ttft"):
            if figure in by_figure:
                return float(np.exp(by_figure[figure]))
        return 1.0


def _figures_of(scored: Scored) -> dict[int, _Entry]:
    entries: dict[int, _Entry] = {}
    for row, predicted in zip(scored.rows, scored.predicted, strict=True):
        if row.figure in FIGURES:
            item = row.computed_case
            entry = entries.setdefault(id(item), _Entry(item=item, rows=[]))
            entry.rows.append((row, float(predicted)))
    return entries


def _suits(case: Case) -> bool:
    """A constant number of users and known lengths; of pools for prompts and for answers, as many copies as were counted."""
    return (
        case.load == "closed"
        and (case.split_known or case.prefill is None)
        and bool(case.concurrency)
        and bool(case.prompt_tokens)
        and bool(case.output_tokens)
        and float(case.output_tokens or 0) >= 2.0
    )


def _by_setup(items: Sequence[Computed]) -> dict[Setup, list[Computed]]:
    groups: dict[Setup, list[Computed]] = defaultdict(list)
    for item in items:
        groups[setup_of(item.case)].append(item)
    return groups


def _table(setup: Setup, cases: Sequence[Case]) -> SteadySetup:
    copies = 1 if setup.prefill else setup.workers
    lengths = [1.2 * ((c.prompt_tokens or 1.0) + (c.output_tokens or 1.0)) for c in cases]
    users = max(-(-protocol_of(case).users // copies) for case in cases)
    return SteadySetup(setup=setup, max_users=users, max_context=largest(lengths))


def _steady(table: SteadySetup, case: Case, factor: float, seed: int) -> Steady:
    return steady_of(
        table,
        protocol_of(case),
        prompt_tokens=float(case.prompt_tokens or 1.0),
        output_tokens=float(case.output_tokens or 1.0),
        factor=factor,
        seed=seed,
    )


def _rows(
    entry: _Entry, steady: Steady, ttft: Statistic | None
) -> list[tuple[Observation, float, float]]:
    measured = entry.item.case.measured
    rate = steady.requests_per_s
    if measured.output_tokens_per_s is not None:
        rate = steady.output_tokens_per_s
    elif measured.total_tokens_per_s is not None:
        rate = steady.total_tokens_per_s
    is_mean = (ttft or protocol_of(entry.item.case).ttft) == "mean"
    ttft_s = steady.ttft_mean_s if is_mean else steady.ttft_median_s
    logs = {
        "tpot": float(np.log(1e3 * steady.tpot_s)),
        "ttft": float(np.log(1e3 * ttft_s)),
        "throughput": -float(np.log(rate)),
    }
    return [(row, closed, logs[row.figure]) for row, closed in entry.rows]
