"""A row of the table as functions of the position: seconds of a step, of the interval, joules; and which row to take.

Between the positions of a row all figures lie on straight lines over blocks of lanes, in which keys are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from takt.chips import Fact, Kind, System

from .estimate import Floats
from .lpu_table import StepRow, load_rows, machine_digest

__all__ = [
    "EXACT", "INTERPOLATED", "Pace", "assumed_facts", "best_pace", "candidates", "interpolation_error", "pace_of",
]  # fmt: skip

EXACT = "simulated: exact schedule"
INTERPOLATED = "simulated: interpolated over context"
UNLIMITED = 1 << 20
_LOGIT_BYTES = 4
_TIMING = ("core", "layout", "mem", "vxm", "mxm", "sxm", "icu", "c2c")
_WIRING = ("node", "block", "rack", "hall")
_ENERGY = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a schedule goes at each position, and what the figures rest on. `basis` "" for a schedule's own."""

    row: StepRow
    clock_hz: int
    lanes: int
    idle_w: float
    sram_bytes_per_s: float
    host_s: float
    host_basis: str
    assumptions: frozenset[str]
    basis: str = ""
    error: float = 0.0

    @property
    def chips(self) -> int:
        """Chips of one pipeline."""
        return self.row.chips

    @property
    def max_users(self) -> int:
        """Caches that one pipeline holds."""
        return self.row.max_users or UNLIMITED

    @property
    def users_to_fill(self) -> int:
        """Users with which the pipeline is full at the end of the context."""
        return max(1, -(-self.row.step_cycles[-1] // max(1, self.row.interval_cycles[-1])))

    @property
    def ffn_s_per_layer(self) -> float:
        """Seconds of one token in one layer's feed-forward; half of a layer where the schedule cannot tell."""
        row = self.row
        cycles = row.ffn_cycles or row.step_cycles[-1] / 2
        return cycles / row.n_layers / self.clock_hz

    def step_s(self, position: ArrayLike) -> Floats:
        """From a token at the position to its logits."""
        return self._line(position, self.row.step_cycles) / self.clock_hz

    def interval_s(self, position: ArrayLike) -> Floats:
        """Until the next token may follow."""
        return self._line(position, self.row.interval_cycles) / self.clock_hz

    def active_j(self, position: ArrayLike) -> Floats:
        """Joules of one token, idle power left out."""
        return self._line(position, self.row.active_j)

    def intervals_s(self, first: ArrayLike, end: ArrayLike) -> Floats:
        """Intervals of the tokens at positions `first` to `end` − 1, added up."""
        return self._sum(first, end, self.row.interval_cycles) / self.clock_hz

    def actives_j(self, first: ArrayLike, end: ArrayLike) -> Floats:
        """Joules of those tokens, idle power left out."""
        return self._sum(first, end, self.row.active_j)

    def is_exact(self, position: ArrayLike) -> bool:
        """Whether every position lies in a block that was compiled."""
        if self.basis:
            return False
        blocks = {each // self.lanes for each in self.row.positions}
        asked = np.floor(self._inside(position) / self.lanes).astype(np.int64)
        return bool(np.isin(asked, sorted(blocks)).all())

    def basis_at(self, position: ArrayLike) -> str:
        """What figures there rest on."""
        return self.basis or (EXACT if self.is_exact(position) else INTERPOLATED)

    def error_at(self, position: ArrayLike) -> float:
        """Relative error to expect of a time there, for the chip as its facts have it."""
        if self.basis:
            return self.error
        return 0.0 if self.is_exact(position) else interpolation_error()[0]

    def _inside(self, position: ArrayLike) -> Floats:
        """Positions of tokens: a user whose context is full has its last token at the last one."""
        return np.minimum(np.asarray(position, np.float64), self.row.context - 1)

    def _line(self, position: ArrayLike, values: Sequence[float]) -> Floats:
        blocks = np.floor(np.array(self.row.positions) / self.lanes)
        asked = np.floor(self._inside(position) / self.lanes)
        return np.interp(asked, blocks, np.array(values, np.float64))

    def _sum(self, first: ArrayLike, end: ArrayLike, values: Sequence[float]) -> Floats:
        """Sum over positions, from one running sum over all of the context."""
        every = self._line(np.arange(self.row.context, dtype=np.float64), values)
        total = np.concatenate([[0.0], np.cumsum(every)])
        positions = np.arange(total.size, dtype=np.float64)
        start, stop = np.asarray(first, np.float64), np.asarray(end, np.float64)
        out: Floats = np.interp(stop, positions, total) - np.interp(start, positions, total)
        return out


def pace_of(row: StepRow, system: System, *, basis: str = "", error: float = 0.0) -> Pace:
    """A row with what else of the system's facts its figures need."""
    chip, host = system.chip, system.host
    kind = system.fact("host.latency_ns").kind
    return Pace(
        row=row,
        clock_hz=chip.clock_hz,
        lanes=chip.lanes,
        idle_w=chip.energy.idle_w,
        sram_bytes_per_s=float(chip.sram_bytes_per_cycle * chip.clock_hz),
        host_s=2 * host.latency_ns * 1e-9 + _LOGIT_BYTES * row.vocab_size / host.bytes_per_s,
        host_basis=f"{kind.value}: round trip to the host",
        assumptions=_assumptions(system),
        basis=basis,
        error=error,
    )


def candidates(model: str, system: System, weights: str, context: int, n_chips: int) -> list[Pace]:
    """Rows of the model whose caches are long enough and whose chips are there; none if the system's facts changed.

    Of rows with more room than asked for those with the least are taken.
    """
    machine = machine_digest(system)
    rows = [
        row
        for row in load_rows()
        if model in row.models
        and row.system == system.id
        and row.weights == weights
        and row.context >= context
        and row.machine == machine
        and row.chips <= (n_chips or system.max_chips)
    ]
    least = min((row.context for row in rows), default=0)
    return [pace_of(row, system) for row in rows if row.context == least]


def best_pace(paces: Sequence[Pace], n_chips: int, users: int) -> Pace | None:
    """The schedule for so many users on `n_chips`: the fastest for each of them, its copies counted.

    `n_chips` 0: of the schedules on the fewest chips in all. None where they fit on none.
    """

    def copies(pace: Pace) -> int:
        return n_chips // pace.chips if n_chips else -(-users // pace.max_users)

    def period(pace: Pace) -> float:
        each = -(-users // copies(pace))
        return max(pace.row.step_cycles[-1], each * pace.row.interval_cycles[-1])

    fit = [pace for pace in paces if copies(pace) * pace.max_users >= users]
    if not fit:
        return None
    if n_chips:
        return min(fit, key=lambda pace: (period(pace), pace.chips))
    return min(fit, key=lambda pace: (copies(pace) * pace.chips, period(pace)))


@cache
def interpolation_error() -> tuple[float, float]:
    """(median, largest) relative error of a step's cycles at a compiled position, on the line between its neighbours."""
    errors = [0.0]
    for row in load_rows():
        for i in range(1, len(row.positions) - 1):
            ends = [row.positions[i - 1], row.positions[i + 1]]
            line = np.interp(
                row.positions[i], ends, [row.step_cycles[i - 1], row.step_cycles[i + 1]]
            )
            errors.append(abs(float(line) / row.step_cycles[i] - 1))
    return float(np.median(errors)), max(errors)


def assumed_facts(system: System) -> tuple[Fact, ...]:
    """Facts that nobody has published and that times (chip, wiring) and joules (chip) rest on."""
    rows = [fact for fact in system.chip.facts if fact.key.split(".")[0] in (*_TIMING, _ENERGY)]
    rows += [fact for fact in system.facts if fact.key.split(".")[0] in _WIRING]
    return tuple(fact for fact in rows if fact.kind == Kind.ASSUMED and fact.value is not None)


def _assumptions(system: System) -> frozenset[str]:
    """How many there are; `assumed_facts` lists them."""
    groups = [fact.key.split(".")[0] for fact in assumed_facts(system)]
    timing = sum(group != _ENERGY for group in groups)
    out = {f"assumed: {timing} facts of {system.chip.id} and its wiring"} if timing else set()
    return frozenset(
        out | ({f"assumed: energy of {system.chip.id}"} if _ENERGY in groups else set())
    )
