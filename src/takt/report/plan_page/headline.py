"""The answer in one sentence and a few figures, each with what it is compared with and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from takt.plan.plans import Measure, Plan, PlanSet
from takt.report.plan_page.words import (
    UNKNOWN,
    amount,
    duration,
    power,
    share,
    system_of,
    targets_in_words,
    usd,
)

__all__ = ["Fact", "Headline", "Used", "headline_of", "measure_of"]

_HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of a target is used up, in percent; the bar ends at 100, the text does not."""

    percent: float
    text: str

    @property
    def over(self) -> bool:
        """Whether the target is missed."""
        return self.percent > 100

    @property
    def width(self) -> float:
        """Percent of the bar that is filled."""
        return min(self.percent, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure of the answer: its name, the figure, notes below it, and the bar of a target."""

    name: str
    value: str
    notes: tuple[str, ...] = ()
    used: Used | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """`meets`: whether a plan meets the targets; `index` of the plan in question, None without any."""

    meets: bool
    title: str
    asked: str
    targets: tuple[str, ...]
    limits: tuple[str, ...]
    misses: tuple[str, ...]
    facts: tuple[Fact, ...]
    sure: tuple[str, ...]


def headline_of(plans: PlanSet) -> Headline:
    """The winner, or the nearest to it, or that there is neither."""
    plan = plans.winner or plans.nearest
    return Headline(
        meets=plans.winner is not None,
        title=_title(plans),
        asked=(
            f"{plans.model} at {amount(plans.rate)} requests a second, with "
            f"{amount(plans.prompt_tokens)} prompt and {amount(plans.output_tokens)} output tokens "
            "each on average"
        ),
        targets=targets_in_words(plans.targets),
        limits=_limits(plans),
        misses=() if plan is None or plans.winner else plan.misses,
        facts=() if plan is None else _facts(plan, plans),
        sure=() if plan is None else (*_how_sure(plan), *_ahead_of(plans)),
    )


def measure_of(measures: Mapping[str, Measure], at: str) -> str:
    """A latency in words with its confidence: `504 ms ± 5 ms`; unknown where there is none."""
    measure = measures.get(at)
    if measure is None:
        return UNKNOWN
    text = duration(measure.mean)
    return text if measure.half_width is None else f"{text} ± {duration(measure.half_width)}"


def _title(plans: PlanSet) -> str:
    if (winner := plans.winner) is not None:
        price = winner.figures.usd_per_mtok
        cost = (
            "; what they cost is unknown"
            if price is None
            else f" for {usd(price)} per million output tokens"
        )
        return f"{system_of(winner)} meet every target{cost}"
    if plans.nearest is not None:
        return f"No plan meets this; the nearest is {system_of(plans.nearest)}"
    return "No plan meets this, and none comes near"


def _limits(plans: PlanSet) -> tuple[str, ...]:
    limits = plans.limits
    phrases = [
        f"at most {usd(limits.usd_per_h)} an hour" if limits.usd_per_h is not None else "",
        f"at most {power(limits.mw)}" if limits.mw is not None else "",
        f"at most {limits.chips:,} chips" if limits.chips is not None else "",
        *(
            f"at most {n:,} of {chip}" if n else f"no {chip} to be had"
            for chip, n in sorted(limits.supply.items())
        ),
    ]
    return tuple(phrase for phrase in phrases if phrase)


def _facts(plan: Plan, plans: PlanSet) -> tuple[Fact, ...]:
    figures, targets = plan.figures, plans.targets
    return (
        _cost(plan),
        _latency("First token", figures.ttft_s, targets.ttft_s, targets.ttft_at),
        _latency("Each further token", figures.tpot_s, targets.tpot_s, targets.tpot_at),
        Fact(
            name="Speed",
            value=amount(figures.tokens_per_s_user, "tok/s"),
            notes=("for each user", f"{amount(figures.throughput_tok_s, 'tok/s')} in all"),
        ),
        Fact(
            name="Power",
            value=power(figures.mw),
            notes=(
                f"{amount(figures.j_per_token)} J per token",
                f"floor {amount(figures.floor_m2, 'm²')}"
                if figures.floor_m2 is not None
                else "floor unknown",
            ),
        ),
        Fact(
            name="Expected error",
            value=UNKNOWN if plan.expected_error is None else f"± {share(plan.expected_error)}",
            notes=("of the pace, median", _facts_assumed(len(plan.assumed))),
        ),
    )


def _cost(plan: Plan) -> Fact:
    hourly = plan.figures.usd_per_h
    notes: tuple[str, ...] = ("per million output tokens",)
    if hourly is not None:
        notes += (f"{usd(hourly)} an hour, {usd(hourly * _HOURS_A_MONTH)} a month",)
    return Fact(name="Cost", value=usd(plan.figures.usd_per_mtok), notes=notes)


def _latency(name: str, measures: Mapping[str, Measure], limit: float | None, at: str) -> Fact:
    at = at if at in measures or limit is not None else "p99"
    measure = measures.get(at)
    value = UNKNOWN if measure is None else duration(measure.mean)
    width = None if measure is None else measure.half_width
    confidence = "" if width is None else f", ± {duration(width)}"
    if limit is None or measure is None:
        return Fact(name=name, value=value, notes=(f"{at}{confidence}", "no target"))
    percent = round(100 * measure.mean / limit, 1)
    used = Used(percent=percent, text=f"{amount(percent)} % of the target of {duration(limit)}")
    return Fact(name=name, value=value, notes=(f"{at}{confidence}",), used=used)


def _facts_assumed(n: int) -> str:
    return f"{n} assumed fact{'' if n == 1 else 's'}" if n else "no assumed facts"


def _how_sure(plan: Plan) -> tuple[str, ...]:
    """What the figures rest on, as sentences."""
    figures = plan.figures
    runs = figures.replications
    sentences = [
        f"Simulated: {figures.requests:,} requests, {runs:,} run{'' if runs == 1 else 's'}; "
        f"{share(figures.goodput)} of requests stay within the targets."
        if figures.requests
        else "Not simulated: figures of the first look.",
        f"The figures rest on: {'; '.join(sorted(plan.basis))}." if plan.basis else "",
        f"Nobody has published: {', '.join(plan.assumed)}." if plan.assumed else "",
        "No measurement tells how far off the pace may be."
        if plan.expected_error is None
        else f"Half of such predictions are within {share(plan.expected_error)} of measurements.",
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _hardware(plan: Plan) -> list[tuple[str, str, str]]:
    """What is bought and how it is split, however many of it and with whatever settings."""
    return [(pool.chip, pool.role, str(pool.layout)) for pool in plan.pools]


def _ahead_of(plans: PlanSet) -> tuple[str, ...]:
    """How far the winner is ahead of the next cheapest on other chips or layouts, and whether that is more than the expected error."""
    winner = plans.winner
    cost = None if winner is None else winner.figures.usd_per_mtok
    rivals = [
        (price, plan)
        for plan in (*plans.pareto[1:], *plans.others)
        if plan.meets
        and (price := plan.figures.usd_per_mtok) is not None
        and (winner is None or _hardware(plan) != _hardware(winner))
    ]
    if winner is None or not cost or not rivals:
        return ()
    price, next_plan = min(rivals, key=lambda rival: rival[0])
    gap = price / cost - 1
    sentence = f"The next cheapest, {system_of(next_plan)}, costs {share(gap)} more"
    errors = [e for e in (winner.expected_error, next_plan.expected_error) if e is not None]
    if len(errors) < 2:
        return (f"{sentence}; how far off either may be is not known.",)
    if gap > max(errors):
        return (f"{sentence}, which is beyond the expected error.",)
    return (f"{sentence}: less than the expected error, so the two are about equal.",)
