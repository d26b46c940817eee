"""The search itself: bounds first, then simulations in the order of the bound, each checked against what was found before.

A way is given up as soon as plans that were simulated are at least as good as it can ever be, at every number of replicas that
is left to try. Knows no files and no words for people but the reasons it keeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from takt.serving.outcome import Outcome

from ..plans import Dropped, Figures, Plan
from .front import Point, hides, unbeaten
from .limits import beyond, beyond_supply, never
from .parts import with_pool
from .question import Question
from .size import Sized, Stop, confirm, size
from .trial import Trials, figures_of, misses
from .traffic import Sizes
from .ways import MOST_REPLICAS, Counts, Way

__all__ = ["Finder", "Found", "rank"]

_LADDER = (1.0, 1.15, 1.3, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0)
_LIGHTER = (1.3, 1.7, 2.5, 4.0)  # times the fewest replicas: fewer users on each, faster tokens
_VARIED = 4  # cheapest plans whose batches are varied
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A plan that was simulated. `sure`: over all seeds, and the targets hold."""

    plan: Plan
    way: Way
    counts: Counts
    point: Point
    sure: bool


@dataclass(slots=True, eq=False)
class Finder:
    """One search; owns its plans and its list of what was dropped."""

    question: Question
    sizes: Sizes
    trials: Trials
    progress: Progress
    front: list[Found] = field(default_factory=list)
    others: list[Found] = field(default_factory=list)
    sized: list[Sized] = field(default_factory=list)
    short: list[Sized] = field(default_factory=list)  # would do, were there enough chips
    dropped: list[Dropped] = field(default_factory=list)
    slow: list[Way] = field(default_factory=list)
    limited: list[tuple[Way, Counts, str]] = field(default_factory=list)
    stopped: list[tuple[Way, Stop]] = field(default_factory=list)

    def screen(self, ways: Sequence[Way]) -> list[tuple[Way, Counts]]:
        """Those that may meet targets and limits with the fewest replicas, the cheapest bound first."""
        targets, limits, kept = self.question.targets, self.question.limits, []
        for way in ways:
            missing = never(limits, way)
            if missing is not None:
                self.limited.append((way, tuple(1 for _ in way.parts), missing))
                self._drop(way.words, "limit", missing)
                continue
            least = way.least(targets)
            if least is None:
                self.slow.append(way)
                self._drop(way.words, "target", _too_slow(way, self.question))
                continue
            if sum(least) > MOST_REPLICAS:
                self._drop(way.words, "limit", f"at least {sum(least):,} replicas, at most {MOST_REPLICAS:,}")
                continue
            reason = beyond(limits, way, least)
            if reason is not None:
                self.limited.append((way, least, f"at best {reason}"))
                self._drop(way.id_of(least), "limit", f"at best {reason}")
                continue
            kept.append((way, least))
        return sorted(kept, key=lambda pair: _order(*pair))

    def simulate(self, screened: Sequence[tuple[Way, Counts]]) -> None:
        """All survivors, in their order."""
        for done, (way, least) in enumerate(screened):
            self.progress(way.words, done, len(screened))
            self.consider(way, least)

    def consider(self, way: Way, least: Counts) -> None:
        """One way: its fewest replicas, and its place beside the plans found so far."""
        sized = size(self.trials, way, least, lambda counts: self._given_up(way, counts))
        if isinstance(sized, Stop):
            self.stopped.append((way, sized))
            self._drop(way.id_of(sized.counts), sized.stage, sized.reason)
            return
        if beyond_supply(self.question.limits, way, sized.counts):
            self.short.append(sized)
            self._drop(
                way.id_of(sized.counts), "limit",
                beyond_supply(self.question.limits, way, sized.counts) or "",
            )  # fmt: skip
            return
        self.sized.append(sized)
        self._place(way, sized.counts, sized.outcome)

    def fits(self, way: Way, counts: Counts) -> bool:
        """Takes a fleet with given numbers into the front; False where it misses a target with all seeds."""
        outcomes = [self.trials.run(way, counts, seed) for seed in self.trials.seeds()]
        wrong = misses(outcomes, self.question.targets)
        if wrong:
            self._drop(way.id_of(counts), "simulated", wrong[0])
            return False
        self.front.append(self._found(way, counts, outcomes, sure=True))
        return True

    def lighter(self) -> None:
        """More replicas than it takes, of the plans that none beats: dearer, but faster for each user."""
        for found in self.best():
            for times in _LIGHTER:
                counts = tuple(
                    n if part.role == "prompt" else ceil(n * times)
                    for n, part in zip(found.counts, found.way.parts, strict=True)
                )
                if counts == found.counts or self._given_up(found.way, counts):
                    continue
                if beyond_supply(self.question.limits, found.way, counts):
                    continue
                outcome = self.trials.run(found.way, counts, self.question.seed)
                if not misses([outcome], self.question.targets):
                    self._place(found.way, counts, outcome, sure=False)

    def best(self) -> list[Found]:
        """The plans found that no other beats, cheapest first."""
        ranked = sorted(self.front, key=rank)
        return [ranked[i] for i in unbeaten([found.point for found in ranked])]

    def settle(self) -> list[Found]:
        """The plans that no other beats, all of them simulated with all seeds."""
        while True:
            best = self.best()
            unsure = [found for found in best if not found.sure]
            if not unsure:
                return best
            for found in unsure:
                self.front.remove(found)
                self._confirmed(found.way, found.counts)

    def vary(self) -> None:
        """Other sizes of batches for the cheapest plans: fewer users at once, smaller steps."""
        cheapest = sorted(self.front, key=lambda found: _order(found.way, found.counts))[:_VARIED]
        for found in cheapest:
            for way in _variants(found.way, self.sizes):
                least = way.least(self.question.targets)
                if least is not None:
                    self.consider(way, least)

    def _place(self, way: Way, counts: Counts, outcome: Outcome, *, sure: bool = True) -> None:
        """Into the front where no plan there is as good; `sure`: with all seeds first."""
        point = self._point(way, counts, [outcome])
        better = next((each for each in self.front if hides(each.point, point)), None)
        if better is not None:
            self.others.append(self._found(way, counts, [outcome], sure=False))
            self._drop(
                way.id_of(counts), "simulated",
                f"{_words(point)}; {better.plan.id} is as good in all: {_words(better.point)}",
            )  # fmt: skip
            return
        if sure:
            self._confirmed(way, counts)
        else:
            self.front.append(self._found(way, counts, [outcome], sure=False))

    def _confirmed(self, way: Way, counts: Counts) -> None:
        """Into the front with as many replicas as all seeds ask for."""
        counts, outcomes, wrong = confirm(self.trials, way, counts)
        limit = beyond(self.question.limits, way, counts)
        limit = limit or beyond_supply(self.question.limits, way, counts)
        if wrong or limit:
            self._drop(way.id_of(counts), "limit" if limit else "simulated", limit or wrong[0])
            return
        self.front.append(self._found(way, counts, outcomes, sure=True))

    def _found(
        self, way: Way, counts: Counts, outcomes: Sequence[Outcome], *, sure: bool
    ) -> Found:
        plan = plan_of(self.question, way, counts, outcomes)
        point = self._point(way, counts, outcomes, plan.figures)
        return Found(plan=plan, way=way, counts=counts, point=point, sure=sure)

    def _point(
        self,
        way: Way,
        counts: Counts,
        outcomes: Sequence[Outcome],
        figures: Figures | None = None,
    ) -> Point:
        """Its figures without what power costs beyond the catalogue's prices: bounds have none of it either."""
        figures = figures or figures_of(self.question, way, counts, outcomes)
        speed = figures.tokens_per_s_user
        return Point(
            usd_per_h=way.usd_per_h(counts),
            unpriced=way.unpriced(counts),
            pace_s=1.0 / speed if speed else 0.0,
            j_per_token=figures.j_per_token,
            mw=figures.mw,
            m2=figures.floor_m2,
        )

    def _given_up(self, way: Way, counts: Counts) -> str | None:
        """Why so many replicas and more are not worth a simulation; None where they may be."""
        reason = beyond(self.question.limits, way, counts)
        if reason is not None:
            return f"at least {reason}"
        hider = None
        steps = [tuple(ceil(n * times) for n in counts) for times in _LADDER]
        for i, fewer in enumerate(steps):
            point = way.point(fewer)
            pace_s = way.point(steps[i + 1]).pace_s if i + 1 < len(steps) else way.alone_s
            bound = replace(point, pace_s=pace_s)
            found = next((each for each in self.front if hides(each.point, bound)), None)
            if found is None:
                return None
            hider = hider or (found, point)
        if hider is None:
            return None
        found, point = hider
        return f"at best {_words(point)}; {found.plan.id} gives {_words(found.point)}"

    def _drop(self, words: str, stage: str, reason: str) -> None:
        self.dropped.append(Dropped(id=words, stage=stage, reason=reason))  # type: ignore[arg-type]


def plan_of(question: Question, way: Way, counts: Counts, outcomes: Sequence[Outcome]) -> Plan:
    """The plan that runs showed."""
    wrong = misses(outcomes, question.targets)
    errors = [part.error for part in way.parts if part.role != "prompt"]
    assumed = [fact for part in way.parts for fact in part.assumed]
    return Plan(
        id=way.id_of(counts),
        pools=way.shown(counts),
        router=way.router,
        figures=figures_of(question, way, counts, outcomes),
        meets=not wrong,
        misses=wrong,
        basis=frozenset().union(*(part.pool.table.basis for part in way.parts)),
        expected_error=None if None in errors else max(each for each in errors if each is not None),
        assumed=tuple(dict.fromkeys(assumed)),
    )


def _order(way: Way, counts: Counts) -> tuple[float, int, int, str]:
    """Cheapest first; what nobody prices last, by its chips."""
    unpriced = sum(way.unpriced(counts).values())
    usd = way.usd_per_h(counts)
    return (usd if not unpriced else float("inf"), unpriced, len(way.parts), way.words)


def rank(found: Found) -> tuple[float, float, int, str]:
    """The order of plans: dollars for a token, those of unknown price last."""
    usd = found.plan.figures.usd_per_mtok
    dear = float("inf") if usd is None else usd
    return (dear, found.point.usd_per_h, found.plan.chips, found.plan.id)


def _too_slow(way: Way, question: Question) -> str:
    targets = question.targets
    if targets.tpot_s is not None and way.alone_s > targets.tpot_s:
        return (
            f"{1e3 * way.alone_s:.4g} ms a token for one user alone, "
            f"asked for {1e3 * targets.tpot_s:.4g} ms"
        )
    if targets.ttft_s is not None and way.first_s > targets.ttft_s:
        return (
            f"first token after {way.first_s:.4g} s at best, asked for {targets.ttft_s:.4g} s"
        )
    return "not one request a second at the pace asked for"


def _variants(way: Way, sizes: Sizes) -> list[Way]:
    """The way with other limits on what is in a step, of the part that generates."""
    out = []
    for i, part in enumerate(way.parts):
        if part.role == "prompt" or part.deployment is None:
            continue
        policy = part.pool.policy
        for seqs, tokens in ((32, None), (64, None), (128, None), (None, 512), (None, 2048)):
            seqs, tokens = seqs or policy.max_seqs, tokens or policy.max_step_tokens
            if seqs > policy.max_seqs or tokens > policy.max_step_tokens:
                continue
            if (seqs, tokens) == (policy.max_seqs, policy.max_step_tokens):
                continue
            seqs = min(seqs, tokens)
            changed = replace(policy, max_seqs=seqs, max_step_tokens=tokens)
            varied = with_pool(part, replace(part.pool, policy=changed), sizes)
            varied = replace(varied, words=f"{part.words} seqs{seqs} step{tokens}")
            parts = (*way.parts[:i], varied, *way.parts[i + 1 :])
            out.append(Way(parts, rate=way.rate, output=way.output, router=way.router))
    return out


def _words(point: Point) -> str:
    """A point in a few words."""
    parts = [] if point.unpriced else [f"${point.usd_per_h:,.4g}/h"]
    parts += [f"{n:,} {chip} of unknown price" for chip, n in sorted(point.unpriced.items())]
    parts.append(f"{1e3 * point.pace_s:.3g} ms a token")
    if point.j_per_token is not None:
        parts.append(f"{point.j_per_token:.3g} J a token")
    if point.mw is not None:
        parts.append(f"{1e3 * point.mw:,.3g} kW")
    return ", ".join(parts)
