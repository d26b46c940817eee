"""Claims and answers side by side: each computation once, in few processes, rows in the order of the claims.

Does not know what a computation does (`compute`), nor how rows are shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from takt.claims.compute import answer, task_of
from takt.claims.found import Answer
from takt.claims.sheet import Claim, Computation, Relation
from takt.errors import CompileError, ProgramError, UnsupportedError

NOT_COMPUTED = "not computed"
_ROUNDED = 0.9  # of a figure that was rounded in print, or said to be about so much


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A claim and Takt's figure. `takt` and `ratio` (Takt's by the published one) are None where nothing computes it.

    `workloads` says how it is for others; `seconds` is what the computation took on this machine; claims that share one share it.
    """

    claim: Claim
    takt: float | None
    why: str
    basis: str
    detail: str
    seconds: float
    workloads: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether Takt's figure is at least as good as the claimed one, for the workload named; None without a figure.

        A tenth less counts as holding, except where the source says "more than" or, of costs, "less than".
        """
        if self.ratio is None:
            return None
        claim = self.claim
        gain = self.ratio if claim.better == "higher" else 1 / self.ratio
        strict = claim.relation is Relation.MORE or (
            claim.relation is Relation.LESS and claim.better == "lower"
        )
        return gain >= (1.0 if strict else _ROUNDED)

    @property
    def ratio(self) -> float | None:
        """Takt's figure in multiples of the published one."""
        return None if self.takt is None else self.takt / self.claim.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """An answer, or why there is none."""

    found: Answer | None
    reason: str
    seconds: float


def evaluate(
    claims: Sequence[Claim],
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Row, ...]:
    """One row for each claim. `progress` hears (computations done, of how many) in this process."""
    tasks = list(dict.fromkeys(task_of(c.takt) for c in claims))
    outcomes: dict[Computation, _Outcome] = {}

    def done(task: Computation, outcome: _Outcome) -> None:
        outcomes[task] = outcome
        if progress is not None:
            progress(len(outcomes), len(tasks))

    if processes > 1 and len(tasks) > 1:
        # Spawned, so that a process starts alike on every system and inherits no threads.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(_try, task): task for task in tasks}
            for future in as_completed(futures):
                done(futures[future], future.result())
    else:
        for task in tasks:
            done(task, _try(task))
    return tuple(_row(c, outcomes[task_of(c.takt)]) for c in claims)


def _try(task: Computation) -> _Outcome:
    start = time.perf_counter()
    found, reason = None, ""
    try:
        found = answer(task)
    except (UnsupportedError, CompileError, ProgramError) as error:
        reason = str(error)
    return _Outcome(found=found, reason=reason, seconds=time.perf_counter() - start)


def _row(claim: Claim, outcome: _Outcome) -> Row:
    if outcome.found is None:
        return Row(
            claim=claim,
            takt=None,
            why=f"{NOT_COMPUTED}: {outcome.reason}",
            basis="",
            detail="",
            seconds=outcome.seconds,
        )
    return Row(
        claim=claim,
        takt=float(outcome.found.values[claim.takt.quantity]),
        why=claim.why,
        basis=_basis(outcome.found, claim),
        detail=outcome.found.detail,
        seconds=outcome.seconds,
        workloads=outcome.found.workloads,
    )


def _basis(found: Answer, claim: Claim) -> str:
    """What the figure rests on; joules also rest on coefficients."""
    joules = " × assumed energy coefficients" if claim.takt.quantity.startswith("energy") else ""
    return found.basis + joules
