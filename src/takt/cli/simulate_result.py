"""What a run or several showed, by the names of its figures, and as the JSON of `takt simulate`.

Of several seeds a figure is their mean, with half the width of its 95 % interval. Knows names, not what they mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from takt.cli.simulate_fleet import Built
from takt.cli.simulate_pools import Made
from takt.serving.results import Interval, Outcome, document, figures

__all__ = ["About", "Shown", "json_of", "shown_of", "shown_of_seeds"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What was simulated, for people; `notes` of how its requests were read."""

    model: str
    workload: str
    seeds: tuple[int, ...]
    simulator: str
    built: Built
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Figures by dotted name, those that are unknown left out; `half_widths` are there for several seeds only."""

    figures: Mapping[str, float]
    half_widths: Mapping[str, float]
    document: Json
    steady: bool

    def value(self, name: str) -> float | None:
        """A figure, or None."""
        return self.figures.get(name)


def shown_of(outcome: Outcome, steady: bool) -> Shown:
    """One run."""
    return Shown(
        figures=figures(outcome), half_widths={}, document=document(outcome), steady=steady
    )


def shown_of_seeds(runs: Sequence[Json]) -> Shown:
    """Several: `simulate_run.simulated` of each. A figure that a run does not have is unknown."""
    every: list[Mapping[str, float]] = [run["figures"] for run in runs]
    names = [name for name in every[0] if all(name in each for each in every)]
    found = {name: Interval.of([each[name] for each in every]) for name in names}
    means = {name: interval.mean for name, interval in found.items()}
    return Shown(
        figures=means,
        half_widths={
            name: interval.half_width
            for name, interval in found.items()
            if interval.half_width is not None and not name.startswith("expected_error.")
        },
        document=_filled(runs[0]["document"], "", means),
        steady=all(run["steady"] for run in runs),
    )


def _filled(value: Any, name: str, means: Mapping[str, float]) -> Any:
    """The same object with means in place of numbers, null where there is none."""
    if isinstance(value, dict):
        return {key: _filled(part, f"{name}.{key}" if name else key, means) for key, part in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [
            _filled(part, f"{name}.{part['name']}", means) if isinstance(part, dict) else part
            for part in value
        ]
    if isinstance(value, str):
        return value
    mean = means.get(name)
    whole = mean is not None and isinstance(value, int) and mean.is_integer()
    return int(mean) if whole and mean is not None else mean


def json_of(shown: Shown, about: About, wall_s: float) -> Json:
    """Keys as in docs/verbs.md."""
    out = dict(shown.document)
    pools = [
        {**pool, **_pool(made)} for pool, made in zip(out.pop("pools"), about.built.made, strict=True)
    ]  # fmt: skip
    first = {
        "model": about.model,
        "workload": about.workload,
        "router": about.built.fleet.router,
        "simulator": about.simulator,
        "seeds": list(about.seeds),
    }
    return {
        **first,
        **out,
        "pools": pools,
        "steady": shown.steady,
        "half_widths": dict(shown.half_widths) if len(about.seeds) > 1 else None,
        "notes": [*about.notes, *about.built.notes],
        "wall_s": wall_s,
    }


def _pool(made: Made) -> Json:
    pool, layout, price = made.pool, made.layout, made.price
    return {
        "role": pool.role,
        "layout": {name: getattr(layout, name) for name in ("tp", "pp", "dp", "ep")},
        "precision": made.precision,
        "engine": made.engine,
        "max_seqs": pool.policy.max_seqs,
        "max_step_tokens": pool.policy.max_step_tokens,
        "kv_tokens": pool.policy.kv_tokens,
        "usd_per_h": pool.usd_per_h,
        "price_kind": price.kind if price else None,
        "price_source": price.source if price else None,
    }
