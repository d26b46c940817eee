"""Predicted beside measured, for files of measurements: what was answered, how well, and what was not.

    answers = answers_to([Path("inferencex.csv.gz")])        every row computed, or its reason
    scored = score(answers.computed)                         each figure predicted, with the shipped corrections
    report = report_of(answers, scored, by=("chip",))        metrics, groups, worst rows

Knows nothing of text, pictures or JSON.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from takt.chips import find_accelerator, list_accelerators
from takt.errors import UsageError, did_you_mean
from takt.models.outlines import OUTLINES, find_outline
from takt.perf.corrections import FIGURES, Corrections, Figure, Situation, shipped_corrections

from .case import Case, Skip
from .compute import Computed, compute_cases
from .digest import digest_of, fitted_digests
from .held_out import HeldOut, shipped_held_out
from .metrics import Metric, grouped_metrics, metrics, ratios
from .observe import Observation, observations, predicted_logs
from .readers import Defaults, read_cases

__all__ = [
    "DIMENSIONS",
    "Answers",
    "Group",
    "Metric",
    "Report",
    "Scored",
    "Skipped",
    "Worst",
    "answers_to",
    "check_dimensions",
    "points_of",
    "report_of",
    "score",
    "worst_rows",
]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
# What rows can be grouped by; each is a field of the row's situation, but for the last.
_FIELDS = {
    "chip": "chip", "model": "model", "engine": "engine", "weights": "weights",
    "dataset": "campaign", "mode": "mode", "kind": "kind", "split": "split",
    "architecture": "architecture", "vendor": "vendor", "era": "era",
}  # fmt: skip
DIMENSIONS = (*_FIELDS, "fitted")
# Beyond this share of rows that the corrections were fitted to, their figures must not stand alone.
_MOSTLY = 0.5
_NAMES_SHOWN = 8
_NO_FIGURE = "outside of what can be computed: a figure came out as no number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Rows without an answer that share a reason.

    `stage`: `row` where the file leaves unsaid what was measured or on what, `prediction` where Takt knows no
    answer. `names`: chips or models that nobody knows, the most frequent first; `hint`: what the first may mean.
    """

    reason: str
    count: int
    stage: Literal["row", "prediction"]
    names: tuple[str, ...] = ()
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Files computed: `rows` counts those of the files, of which `computed` holds the answered ones."""

    files: tuple[str, ...]
    rows: int
    computed: tuple[Computed, ...]
    skipped: tuple[Skipped, ...]

    @property
    def answered(self) -> int:
        """Rows of the files that an answer stands for."""
        return sum(item.case.rows for item in self.computed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Figures measured (`rows`) and predicted, both as logarithms of time; `ratio`: predicted ÷ measured."""

    rows: tuple[Observation, ...]
    predicted: Floats

    @property
    def ratio(self) -> Floats:
        """[rows], rates as rates and times as times."""
        return ratios(self.rows, self.predicted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Metrics of the rows that share `key`: (dimension, value) pairs."""

    key: tuple[tuple[str, str], ...]
    metrics: dict[Figure, Metric]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """A row far off, in its worst figure. `measured` and `predicted` are in `unit`."""

    where: str
    figure: Figure
    measured: float
    predicted: float
    unit: str
    situation: Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `takt accuracy` shows. `fitted_rows`: answered rows that the shipped corrections were fitted to.

    `held_out`: errors on rows left out when the corrections were fitted, given where most rows were not.
    """

    files: tuple[str, ...]
    rows: int
    answered: int
    refused: int
    fitted_rows: int
    skipped: tuple[Skipped, ...]
    metrics: dict[Figure, Metric]
    groups: tuple[Group, ...]
    worst: tuple[Worst, ...]
    held_out: HeldOut

    @property
    def coverage(self) -> float:
        """Answered ÷ all rows of the files."""
        return self.answered / self.rows if self.rows else 0.0

    @property
    def coverage_usable(self) -> float:
        """Answered ÷ rows that say what was measured and on what."""
        usable = self.answered + self.refused
        return self.answered / usable if usable else 0.0


def answers_to(
    paths: Sequence[Path], defaults: Defaults | None = None, progress: Progress | None = None
) -> Answers:
    """Every row of the files computed, or counted with the reason why not.

    Raises what `read_cases` raises for a file that it doesn't know; `progress` hears (files done, files).
    """
    computed: list[Computed] = []
    skips: list[Skip] = []
    refused: list[tuple[Case, str]] = []
    for done, path in enumerate(paths):
        if progress is not None:
            progress(done, len(paths))
        cases, unusable = read_cases(path, defaults)
        found, unanswered = compute_cases(cases)
        computed += [item for item in found if _has_figures(item)]
        refused += unanswered
        refused += [(item.case, _NO_FIGURE) for item in found if not _has_figures(item)]
        skips += unusable
    answered = sum(item.case.rows for item in computed)
    return Answers(
        files=tuple(path.name for path in paths),
        rows=answered + len(skips) + sum(case.rows for case, _ in refused),
        computed=tuple(computed),
        skipped=tuple(
            sorted((*_refused(refused), *_unusable(skips)), key=lambda s: (-s.count, s.reason))
        ),
    )


def _has_figures(item: Computed) -> bool:
    return bool(item.log) and bool(np.isfinite(list(item.log.values())).all())


def _unusable(skips: Sequence[Skip]) -> list[Skipped]:
    counts = Counter(skip.reason for skip in skips)
    return [Skipped(reason=r, count=n, stage="row") for r, n in _most_first(counts)]


def _refused(refused: Sequence[tuple[Case, str]]) -> list[Skipped]:
    counts: Counter[str] = Counter()
    names: dict[str, Counter[str]] = defaultdict(Counter)
    for case, reason in refused:
        counts[reason] += case.rows
        if (name := _unknown_name(case)) is not None:
            names[reason][name] += case.rows
    return [
        Skipped(
            reason=reason,
            count=count,
            stage="prediction",
            names=(shown := tuple(n for n, _ in _most_first(names[reason])[:_NAMES_SHOWN])),
            hint=did_you_mean(shown[0], _all_names()) if shown else None,
        )
        for reason, count in _most_first(counts)
    ]


@cache
def _all_names() -> tuple[str, ...]:
    chips = [name for chip in list_accelerators() for name in (chip.id, *chip.aliases)]
    return (*chips, *OUTLINES)


def _unknown_name(case: Case) -> str | None:
    """What the case spells in a way that nobody knows, if that is why it has no answer."""
    if find_accelerator(case.chip) is None:
        return case.chip
    return case.model if find_outline(case.model) is None else None


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def score(computed: Sequence[Computed], corrections: Corrections | None = None) -> Scored:
    """Every figure both measured and computed, predicted with `corrections` (default: those shipped)."""
    rows = observations(computed)
    known = shipped_corrections() if corrections is None else corrections
    return Scored(rows=tuple(rows), predicted=predicted_logs(rows, known))


def check_dimensions(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Raises UsageError for one that rows can't be grouped by."""
    for name in names:
        if name not in DIMENSIONS:
            raise UsageError(
                f"rows can't be grouped by {name[:40]!r}",
                hint=did_you_mean(name, DIMENSIONS) or f"by {', '.join(DIMENSIONS)}",
            )
    return tuple(dict.fromkeys(names))


def report_of(
    answers: Answers, scored: Scored, *, by: Sequence[str] = (), n_worst: int = 10
) -> Report:
    """Metrics of all rows and by group, and the rows farthest off."""
    ratio = scored.ratio
    known = _fitted(answers.computed)
    fitted_rows = sum(item.case.rows for item in answers.computed if id(item) in known)
    by = check_dimensions(by)

    def key(row: Observation) -> tuple[str, ...]:
        return tuple(_value(row, name, known) for name in by)

    groups = grouped_metrics(scored.rows, ratio, key) if by else {}
    answered = answers.answered
    return Report(
        files=answers.files,
        rows=answers.rows,
        answered=answered,
        refused=sum(skip.count for skip in answers.skipped if skip.stage == "prediction"),
        fitted_rows=fitted_rows,
        skipped=answers.skipped,
        metrics=metrics(scored.rows, ratio),
        groups=tuple(
            Group(key=tuple(zip(by, values, strict=True)), metrics=found)
            for values, found in groups.items()
        ),
        worst=worst_rows(scored, n_worst),
        held_out=shipped_held_out() if answered and fitted_rows >= _MOSTLY * answered else {},
    )


def _fitted(computed: Sequence[Computed]) -> frozenset[int]:
    """`id` of the computed rows that the shipped corrections were fitted to."""
    known = fitted_digests()
    if not len(known) or not computed:
        return frozenset()
    digests = np.asarray([digest_of(item.case) for item in computed], dtype=np.uint64)
    found = np.isin(digests, known)
    return frozenset(id(item) for item, yes in zip(computed, found, strict=True) if yes)


def _value(row: Observation, name: str, fitted: frozenset[int]) -> str:
    if name == "fitted":
        return "yes" if id(row.computed_case) in fitted else "no"
    return str(getattr(row.situation, _FIELDS[name]))


def worst_rows(scored: Scored, n_worst: int) -> tuple[Worst, ...]:
    """The farthest off by ratio, one figure a row."""
    order = np.argsort(-np.abs(np.log(scored.ratio)), kind="stable")
    seen: set[int] = set()
    found: list[Worst] = []
    for i in order:
        row = scored.rows[i]
        if len(found) == n_worst:
            break
        if id(row.computed_case) in seen:
            continue
        seen.add(id(row.computed_case))
        sign = -1.0 if row.figure == "throughput" else 1.0
        found.append(
            Worst(
                where=row.computed_case.case.where,
                figure=row.figure,
                measured=float(np.exp(sign * row.measured)),
                predicted=float(np.exp(sign * scored.predicted[i])),
                unit=unit_of(row),
                situation=row.situation,
            )
        )
    return tuple(found)


_UNITS: dict[Figure, str] = {"tpot": "ms", "ttft": "ms", "step_time": "ms", "energy": "J/token"}


def unit_of(row: Observation) -> str:
    """Of the figure as it was measured."""
    measured = row.computed_case.case.measured
    if row.figure != "throughput":
        return _UNITS[row.figure]
    if measured.output_tokens_per_s is not None:
        return "output tokens/s"
    return "tokens/s" if measured.total_tokens_per_s is not None else "requests/s"


def points_of(scored: Scored, by: str) -> dict[tuple[Figure, str], dict[str, Floats]]:
    """(figure, units) → value of the dimension `by` → [2, n] measured and predicted."""
    items = {id(row.computed_case): row.computed_case for row in scored.rows}
    known = _fitted(list(items.values())) if by == "fitted" else frozenset[int]()
    groups: dict[Figure, dict[str, list[tuple[float, float]]]] = {f: {} for f in FIGURES}
    units: dict[Figure, dict[str, None]] = {f: {} for f in FIGURES}
    for row, predicted in zip(scored.rows, scored.predicted, strict=True):
        sign = -1.0 if row.figure == "throughput" else 1.0
        point = (float(np.exp(sign * row.measured)), float(np.exp(sign * predicted)))
        groups[row.figure].setdefault(_value(row, by, known), []).append(point)
        units[row.figure][unit_of(row)] = None
    return {
        (figure, " or ".join(units[figure])): {
            name: np.asarray(points).T for name, points in sorted(members.items())
        }
        for figure, members in groups.items()
        if members
    }
