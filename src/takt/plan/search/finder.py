"""The search itself: bounds first, then simulations in the order of the bound, each checked against what was found before.

A way is given up as soon as plans that were simulated are at least as good as it can ever be, at every number of replicas that
is left to try. Knows no files and no words for people but the reasons it keeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from ..plans import Dropped, Plan
from .front import Point, hides, unbeaten
from .limits import beyond, beyond_supply, never
from .parts import VARIED, with_pool
from .question import Question
from .size import Sized, Stop, raised, size
from .traffic import Sizes
from .trial import Run, Trials, figures_of, misses
from .ways import MOST_REPLICAS, Counts, Way

__all__ = ["Finder", "Found", "plan_of", "rank"]

_LADDER = (1.0, 1.15, 1.3, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0)
_LIGHTER = (1.3, 1.7, 2.5, 4.0)  # times the fewest replicas: fewer users on each, faster tokens
_VARIED = 4  # cheapest plans whose batches are varied
_ROUNDS = 16
Progress = Callable[[str, int, int], None]
Stage = Literal["fit", "target", "limit", "bound", "simulated"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A plan that was simulated. `sure`: under all seeds, and the targets hold with confidence."""

    plan: Plan
    way: Way
    counts: Counts
    point: Point
    sure: bool


@dataclass(slots=True, eq=False)
class Finder:
    """One search; owns its plans and its list of what was dropped.

    - `front`: plans that no earlier one is as good as in every figure; `others`: those that one is.
    - `short`: ways that would do, were there enough chips; `slow`, `limited`, `stopped`: ways that don't.
    """

    question: Question
    sizes: Sizes
    trials: Trials
    progress: Progress
    front: list[Found] = field(default_factory=list)
    others: list[Found] = field(default_factory=list)
    sized: list[Sized] = field(default_factory=list)
    short: list[Sized] = field(default_factory=list)
    slow: list[Way] = field(default_factory=list)
    limited: list[tuple[Way, Counts, str]] = field(default_factory=list)
    stopped: list[tuple[Way, Stop]] = field(default_factory=list)
    _dropped: dict[str, Dropped] = field(default_factory=dict)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """What was dropped, in that order."""
        return tuple(self._dropped.values())

    def screen(self, ways: Sequence[Way]) -> list[tuple[Way, Counts]]:
        """Those that may meet targets and limits with the fewest replicas, the cheapest bound first."""
        targets, limits, kept = self.question.targets, self.question.limits, []
        for way in ways:
            missing = never(limits, way)
            if missing is not None:
                self.limited.append((way, tuple(1 for _ in way.parts), missing))
                self._drop(way, None, "limit", missing)
                continue
            least = way.least(targets)
            if least is None:
                self.slow.append(way)
                self._drop(way, None, "target", _too_slow(way, self.question))
                continue
            if sum(least) > MOST_REPLICAS:
                self._drop(
                    way,
                    least,
                    "limit",
                    f"at least {sum(least):,} replicas, at most {MOST_REPLICAS:,}",
                )
                continue
            reason = beyond(limits, way, least)
            if reason is not None:
                self.limited.append((way, least, f"at best {reason}"))
                self._drop(way, least, "limit", f"at best {reason}")
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
        self._dropped.pop(way.words, None)
        sized = size(self.trials, way, least, lambda counts: self._given_up(way, counts))
        if isinstance(sized, Stop):
            self.stopped.append((way, sized))
            self._drop(way, sized.counts, sized.stage, sized.reason)
            return
        lacking = beyond_supply(self.question.limits, way, sized.counts)
        if lacking:
            self.short.append(sized)
            self._drop(way, sized.counts, "limit", lacking)
            return
        self.sized.append(sized)
        self._place(way, sized.counts, sized.run)

    def fits(self, way: Way, counts: Counts) -> bool:
        """Takes a fleet with given numbers into the front; False where it misses a target with all seeds."""
        (runs,) = self.trials.every([(way, counts)])
        wrong = misses(runs, self.question.targets)
        if wrong:
            self._drop(way, counts, "simulated", wrong[0])
            return False
        self._dropped.pop(way.words, None)
        self.front.append(self._found(way, counts, runs, sure=True))
        return True

    def lighter(self) -> None:
        """More replicas than it takes: dearer, but faster for each user. Of all ways, as far as bounds leave a chance."""
        fewest = {found.way.words: (found.way, found.counts) for found in self.others}
        fewest |= {found.way.words: (found.way, found.counts) for found in self.front}
        for way, counts in sorted(fewest.values(), key=lambda pair: _order(*pair)):
            for times in _LIGHTER:
                more = _times(way, counts, times)
                if more == counts:
                    continue
                if self._given_up(way, more):
                    break
                if beyond_supply(self.question.limits, way, more):
                    break
                run = self.trials.run(way, more, self.question.seed)
                lighter = self._found(way, more, [run], sure=False)
                if lighter.plan.meets and not self._hider(lighter.point):
                    self.front.append(lighter)

    def best(self) -> list[Found]:
        """The plans found that no other beats, cheapest first."""
        ranked = sorted(self.front, key=rank)
        return [ranked[i] for i in unbeaten([found.point for found in ranked])]

    def settle(self) -> list[Found]:
        """The plans that no other beats, all of them simulated with all seeds.

        Where seeds ask for more replicas a plan gets dearer: what was dropped because of it is looked at again.
        """
        for _ in range(_ROUNDS):
            best = self.best()
            unsure = [found for found in best if not found.sure]
            if unsure:
                self._make_sure(unsure)
            elif not self._revive():
                return best
        return [found for found in self.best() if found.sure]

    def _make_sure(self, unsure: Sequence[Found]) -> None:
        runs = self.trials.every([(found.way, found.counts) for found in unsure])
        for found, each in zip(unsure, runs, strict=True):
            self.front.remove(found)
            if not misses(each, self.question.targets):
                self.front.append(self._found(found.way, found.counts, each, sure=True))
                continue
            counts = raised(found.way, found.counts, each, self.question.targets)
            limit = beyond(self.question.limits, found.way, counts)
            limit = limit or beyond_supply(self.question.limits, found.way, counts)
            if limit is not None:
                self._drop(found.way, counts, "limit", limit)
                continue
            run = self.trials.run(found.way, counts, self.question.seed)
            self.front.append(self._found(found.way, counts, [run], sure=False))

    def _revive(self) -> bool:
        """Considers again what the plans that are left no longer hide; False where they hide all of it."""
        lost = [(way, stop) for way, stop in self.stopped if stop.stage == "bound"]
        lost = [(way, stop) for way, stop in lost if self._given_up(way, stop.counts) is None]
        shown = [found for found in self.others if self._hider(found.point) is None]
        for way, stop in lost:
            self.stopped.remove((way, stop))
            self.consider(way, stop.counts)
        for found in shown:
            self.others.remove(found)
            self._dropped.pop(found.way.words, None)
            self.front.append(found)
        return bool(lost or shown)

    def vary(self) -> None:
        """Other sizes of batches for the cheapest plans: fewer users at once, smaller steps."""
        cheapest = sorted(self.front, key=lambda found: _order(found.way, found.counts))[:_VARIED]
        for found in cheapest:
            for way in _variants(found.way, self.sizes):
                least = way.least(self.question.targets)
                if least is not None:
                    self.consider(way, least)

    def _place(self, way: Way, counts: Counts, run: Run) -> None:
        """Into the front where no plan there is as good."""
        found = self._found(way, counts, [run], sure=False)
        better = self._hider(found.point)
        if better is None:
            self.front.append(found)
            return
        self.others.append(found)
        reason = (
            f"{_words(found.point)}; {better.plan.id} is as good in all: {_words(better.point)}"
        )
        self._drop(way, counts, "simulated", reason)

    def _hider(self, point: Point) -> Found | None:
        """The first plan of the front that is at least as good in every figure."""
        return next((each for each in self.front if hides(each.point, point)), None)

    def _found(self, way: Way, counts: Counts, runs: Sequence[Run], *, sure: bool) -> Found:
        plan = plan_of(self.question, way, counts, runs)
        figures = plan.figures
        first = figures.ttft_s.get(self.question.targets.ttft_at)
        point = Point(
            # Without what power costs beyond the catalogue's prices: bounds have none of it either.
            usd_per_h=way.usd_per_h(counts),
            unpriced=way.unpriced(counts),
            pace_s=1.0 / figures.tokens_per_s_user if figures.tokens_per_s_user else 0.0,
            j_per_token=figures.j_per_token,
            mw=figures.mw,
            m2=figures.floor_m2,
            first_s=first.mean if first else 0.0,
        )
        return Found(plan=plan, way=way, counts=counts, point=point, sure=sure)

    def _given_up(self, way: Way, counts: Counts) -> str | None:
        """Why so many replicas and more are not worth a simulation; None where they may be."""
        reason = beyond(self.question.limits, way, counts)
        if reason is not None:
            return f"at least {reason}"
        first: tuple[Found, Point] | None = None
        # More replicas that read make no token quicker: numbers of those that generate are tried.
        steps = [_times(way, counts, times) for times in _LADDER]
        points = [way.point(fewer) for fewer in steps]
        paces_s = [*(point.pace_s for point in points[1:]), way.alone_s]
        for point, pace_s in zip(points, paces_s, strict=True):
            # Between two rungs: dollars of the lower, pace of the upper.
            hider = self._hider(replace(point, pace_s=pace_s))
            if hider is None:
                return None
            first = first or (hider, point)
        assert first is not None
        return f"at best {_words(first[1])}; {first[0].plan.id} gives {_words(first[0].point)}"

    def _drop(self, way: Way, counts: Counts | None, stage: Stage, reason: str) -> None:
        words = way.words if counts is None else way.id_of(counts)
        self._dropped[way.words] = Dropped(id=words, stage=stage, reason=reason)

    def drop_early(self, dropped: Sequence[Dropped]) -> None:
        """What fits nowhere."""
        self._dropped |= {f"{i} {each.id}": each for i, each in enumerate(dropped)}


def plan_of(question: Question, way: Way, counts: Counts, runs: Sequence[Run]) -> Plan:
    """The plan that runs showed."""
    wrong = misses(runs, question.targets)
    errors = [part.error for part in way.parts if part.role != "prompt"]
    assumed = [fact for part in way.parts for fact in part.assumed]
    return Plan(
        id=way.id_of(counts),
        pools=way.shown(counts),
        router=way.router,
        figures=figures_of(question, way, counts, runs),
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


def _times(way: Way, counts: Counts, times: float) -> Counts:
    """So many times the replicas that generate, and those that read as they are."""
    return tuple(
        n if part.role == "prompt" else ceil(n * times)
        for n, part in zip(counts, way.parts, strict=True)
    )


def _too_slow(way: Way, question: Question) -> str:
    targets = question.targets
    if targets.tpot_s is not None and way.alone_s > targets.tpot_s:
        return (
            f"{1e3 * way.alone_s:.4g} ms a token for one user alone, "
            f"asked for {1e3 * targets.tpot_s:.4g} ms"
        )
    if targets.ttft_s is not None and way.first_s > targets.ttft_s:
        return f"first token after {way.first_s:.4g} s at best, asked for {targets.ttft_s:.4g} s"
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
            varied = replace(varied, words=f"{part.words}{VARIED}{seqs} step{tokens}")
            parts = (*way.parts[:i], varied, *way.parts[i + 1 :])
            out.append(replace(way, parts=parts))
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
