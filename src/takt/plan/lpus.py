"""LPUs in the same comparison: rows from the exact schedules of room `perf`, prompts and tokens in one pipeline.

Users in flight share a pipeline of stages, in which a token follows another after an interval. Prompts go through it
token by token in the places that generating users leave free; how long they wait follows from how full it is, by the
same closed loop as for other chips. Knows systems that are tabled or guessed there, and nothing of schedules.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import System, load_system
from takt.errors import CapacityError, UnsupportedError
from takt.models.outlines import Outline
from takt.perf.lpu import LpuDeployment, LpuStepModel, lpu_curve

from .compare import FIGURES, Compared, Known, Point, pareto
from .layout import Layout
from .money import Price
from .request import Request
from .serve import Load

__all__ = ["Lpus", "Pipeline", "compare_system", "pipelines_of", "schedules_of"]

_ROUNDS = 60
_DENSE_TO = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lpus:
    """A system of LPUs: `label` as rows name it, `source` its id or file."""

    label: str
    source: str
    system: System

    @classmethod
    def of(cls, source: str, label: str = "") -> "Lpus":
        """The system of that id or TOML file; UsageError with a near miss."""
        system = load_system(source)
        return cls(label=label or system.id, source=source, system=system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One schedule with 1 to as many users as its caches hold; arrays over users. Rates are of output tokens."""

    layout: Layout
    users: Floats
    ttft_s: Floats
    tpot_s: Floats
    tokens_per_s: Floats
    j_per_token: Floats
    basis: frozenset[str]
    error: float

    @property
    def tokens_per_s_chip(self) -> Floats:
        """Of all users, for each chip."""
        return self.tokens_per_s / self.layout.chips

    def best_load(self, request: Request) -> Load | None:
        """The load of largest throughput that meets the target; None if not even one user gets it."""
        meets = self.tpot_s <= request.tpot_s
        if request.ttft_s is not None:
            meets &= self.ttft_s <= request.ttft_s
        if not meets.any():
            return None
        return self.load(int(np.argmax(np.where(meets, self.tokens_per_s, -1.0))))

    def load(self, index: int) -> Load:
        """The load at one place of the arrays."""
        return Load(
            layout=self.layout,
            users=int(self.users[index]),
            ttft_s=float(self.ttft_s[index]),
            tpot_s=float(self.tpot_s[index]),
            tokens_per_s_chip=float(self.tokens_per_s_chip[index]),
            j_per_token=float(self.j_per_token[index]),
        )


def compare_system(
    model: Outline,
    lpus: Lpus,
    request: Request,
    *,
    max_chips: int | None = None,
    prices: Mapping[str, float] | None = None,
) -> Compared:
    """The row of a system of LPUs. `max_chips` None: as many as the system has."""
    system, label = lpus.system, lpus.label
    price = None
    if prices and label in prices:
        price = Price(usd_per_h=prices[label], kind="given")
    row = Compared(
        chip=label,
        name=f"{system.chip.name} in {system.name}",
        price=price,
        power_basis="chips as drawn",
        precision=_weights(request),
        engine="schedule",
        known={},
    )
    try:
        lines = pipelines_of(model, lpus, request)
    except CapacityError as error:
        return replace(row, reason=f"too small: {error}")
    except UnsupportedError as error:
        return replace(row, reason=f"{error} ({error.hint})" if error.hint else str(error))
    fitting = [line for line in lines if line.layout.chips <= (max_chips or system.max_chips)]
    if not fitting:
        least = min(line.layout.chips for line in lines)
        return replace(row, reason=f"too small: the model needs {least:,} chips")
    return _filled(row, fitting, request)


def _weights(request: Request) -> str:
    """LPUs store int8 or 16-bit weights: what is narrow elsewhere is int8 here."""
    return "fp16" if request.precision == "bf16" else "int8"


def pipelines_of(
    model: Outline, lpus: Lpus, request: Request, *, reads: bool = True
) -> tuple[Pipeline, ...]:
    """Every schedule known for the model, with caches of prompt and output.

    `reads`: prompts go through the pipeline too.

    Raises CapacityError where the system is too small, UnsupportedError where nothing can be said.
    """
    return tuple(
        _pipeline(steps, users, request, reads=reads)
        for steps, users in schedules_of(model, lpus, request)
    )


def schedules_of(
    model: Outline, lpus: Lpus, request: Request
) -> Iterator[tuple[LpuStepModel, int]]:
    """(steps, users that fit) of every number of chips that the model is scheduled on."""
    context, weights = request.context_tokens, _weights(request)
    most: dict[int, int] = {}
    for point in lpu_curve(model, lpus.source, weights, context):
        most[point.chips] = max(most.get(point.chips, 1), point.users)
    for chips, users in most.items():
        deployment = LpuDeployment(
            system=lpus.source, n_chips=chips, weights=weights, context_tokens=context
        )
        yield LpuStepModel.of(model, deployment, users=users), users


def _pipeline(steps: LpuStepModel, most: int, request: Request, *, reads: bool = True) -> Pipeline:
    """A steady closed loop: what share of the places is taken by others, found by bisection.

    A request takes W = prompt + output places. With a share ρ of all places taken, others have ρ (n − 1) / n of
    them: a prompt is stretched by 1 / (1 − others), a token waits as long as in a queue of constant service,
    others / 2 (1 − others) places. n requests a span then fill ρ = n W / span, which has one solution.
    Without `reads` prompts are read elsewhere: the first token is one step, and nothing but tokens takes places.
    """
    prompt, output = request.prompt_tokens, request.output_tokens
    users = np.unique(np.concatenate([np.arange(1, min(most, _DENSE_TO) + 1), [most]]))
    users = users.astype(np.float64)
    start, middle, end = np.zeros(()), np.array(prompt + output / 2), np.array(float(prompt))
    one = steps.decode(1, middle)
    step_s, place_s = float(one.time_s), float(steps.pace.interval_s(middle))
    read_s, prompt_s = step_s, 0.0
    if reads:
        read_s = float(steps.prompt(1, prompt).time_s)
        prompt_s = float(steps.pace.intervals_s(start, end))

    def times(taken: Floats) -> tuple[Floats, Floats]:
        others = taken * (users - 1) / users
        waited = others / (1.0 - others)
        return read_s + prompt_s * waited, step_s + place_s * waited / 2

    low, high = np.zeros_like(users), np.full_like(users, 1.0 - 1e-9)
    for _ in range(_ROUNDS):
        taken = (low + high) / 2
        ttft, tpot = times(taken)
        span = ttft + max(output - 1, 0) * tpot
        filled = users * (prompt_s + output * place_s) / span
        low, high = np.where(filled > taken, taken, low), np.where(filled > taken, high, taken)
    ttft, tpot = times(low)
    rate = users / (ttft + max(output - 1, 0) * tpot)
    return _described(steps, users, ttft, tpot, rate, request, reads)


def _described(
    steps: LpuStepModel,
    users: Floats,
    ttft: Floats,
    tpot: Floats,
    rate: Floats,
    request: Request,
    reads: bool,
) -> Pipeline:
    """With energy: idle power of all chips all the time, and what each of a request's tokens adds."""
    prompt, output = request.prompt_tokens, request.output_tokens
    start, end = np.array(0.0 if reads else float(prompt)), np.array(float(prompt + output))
    added_j = float(steps.pace.actives_j(start, end))
    row = steps.pace.row
    return Pipeline(
        layout=Layout(tp=row.group, pp=row.stages),
        users=users,
        ttft_s=ttft,
        tpot_s=tpot,
        tokens_per_s=rate * output,
        j_per_token=(steps.pace.idle_w * steps.n_chips / rate + added_j) / output,
        basis=steps.decode(1, end - 1).basis,
        error=steps.decode(1, end - 1).error,
    )


def _filled(row: Compared, lines: Sequence[Pipeline], request: Request) -> Compared:
    """The row with the best of all pipelines."""
    alone = min((line.load(0) for line in lines), key=lambda load: load.tpot_s)
    best = {line.layout: load for line in lines if (load := line.best_load(request)) is not None}
    served = max(best.values(), key=lambda load: load.tokens_per_s_chip, default=None)
    known = next(line for line in lines if line.layout == (served or alone).layout)
    return replace(
        row,
        chips=min((layout.chips for layout in best), default=None),
        needs_chips=min(line.layout.chips for line in lines),
        served=served,
        alone=alone,
        chip_w=None if served is None else served.j_per_token * served.tokens_per_s_chip,
        known=_known(known, row.price),
        reason=None if served else _missed(lines, request),
        frontier=_frontier(lines),
    )


def _known(line: Pipeline, price: Price | None) -> dict[str, Known]:
    """Times are those of the machine as its facts have it; joules rest on coefficients that are assumed."""
    basis = "; ".join(sorted(line.basis))
    known = {name: Known(basis=basis, expected_error=line.error) for name in FIGURES}
    known["j_per_token"] = Known(basis=basis, expected_error=None)
    if price is None:
        known["usd_per_mtok"] = Known(basis="no price known", expected_error=None)
    return known


def _missed(lines: Sequence[Pipeline], request: Request) -> str:
    tpot_s = min(float(line.tpot_s.min()) for line in lines)
    if tpot_s > request.tpot_s:
        return (
            f"target missed: {1e3 * tpot_s:.3g} ms a token at best, "
            f"asked for {1e3 * request.tpot_s:.3g} ms"
        )
    ttft_s = min(float(line.ttft_s.min()) for line in lines)
    return (
        f"target missed: first token after {ttft_s:.3g} s at best, asked for {request.ttft_s:.3g} s"
    )


def _frontier(lines: Sequence[Pipeline]) -> tuple[Point, ...]:
    speed = np.concatenate([1 / line.tpot_s for line in lines])
    rate = np.concatenate([line.tokens_per_s_chip for line in lines])
    joules = np.concatenate([line.j_per_token for line in lines])
    return tuple(
        Point(
            tokens_per_s_user=float(speed[i]),
            tokens_per_s_chip=float(rate[i]),
            tokens_per_s_mw=1e6 / float(joules[i]),
        )
        for i in pareto(speed, rate)
    )
