"""Every way to serve that is looked at: each part alone, prompts and tokens apart on one or two kinds of chips, GPUs beside LPUs.

What reads prompts and what generates are paid for separately, so for each part that generates only the readers that do a
prompt for the least money are paired with it: of the same chip, and of all chips of its vendor with the same type of cache
(no engine hands caches to another vendor's chips). Knows no simulations.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from takt.chips import Accelerator
from takt.errors import CapacityError, UnsupportedError, UsageError

from ..lpus import Lpus
from ..plans import Dropped
from .lpu_parts import handing_over, lpu_parts, shared_parts
from .parts import Part, chip_parts, part_of, with_pool
from .question import Question
from .traffic import Sizes
from .ways import Way

__all__ = ["Offer", "ways_of"]

_TOO_SMALL = (CapacityError, UnsupportedError, UsageError)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Chips to choose from: accelerators, systems of LPUs, and pairs of both that share a model.

    `apart`: prompts and tokens on different replicas are looked at too.
    """

    accelerators: tuple[Accelerator, ...] = ()
    systems: tuple[Lpus, ...] = ()
    pairs: tuple[tuple[Accelerator, Lpus], ...] = ()
    apart: bool = True

    def __post_init__(self) -> None:
        if not (self.accelerators or self.systems or self.pairs):
            raise UsageError("no chips to plan with", hint="name some: --chips h200-sxm,lpu-v1")


@dataclass(slots=True, eq=False)
class _Maker:
    """Makes parts and ways; owns what was dropped on the way."""

    question: Question
    sizes: Sizes
    dropped: list[Dropped]

    def way(self, *parts: Part) -> Way:
        return Way(
            parts,
            rate=self.question.traffic.rate,
            output=self.sizes.output,
            router=self.sizes.router,
        )

    def chip(self, chip: Accelerator) -> list[Part]:
        try:
            return list(chip_parts(self.question, chip, self.sizes))
        except _TOO_SMALL as error:
            self.drop(chip.id, error)
            return []

    def drop(self, words: str, error: Exception) -> None:
        hint = getattr(error, "hint", None)
        reason = f"{error}; {hint}" if hint else f"{error}"
        self.dropped.append(Dropped(id=words, stage="fit", reason=reason))

    def as_decode(self, part: Part) -> Part:
        return with_pool(part, replace(part.pool, role="decode"), self.sizes)

    def best_reader(self, parts: Sequence[Part]) -> Part | None:
        """The part whose replicas read all prompts for the least money; where nothing is priced, on the fewest chips."""
        ttft_s = self.question.targets.ttft_s
        best: tuple[tuple[float, float, str], Part] | None = None
        for part in parts:
            reader = with_pool(part, replace(part.pool, role="prompt"), self.sizes)
            rate = reader.reach.most_rate(None)
            if ttft_s is not None and reader.reach.first_s > ttft_s:
                continue
            usd = part.usd_per_h if not part.unpriced else float("inf")
            n = ceil(self.question.traffic.rate / rate)
            key = (usd * n, part.pool.chips * n, part.words)
            if best is None or key < best[0]:
                best = (key, part)
        return best[1] if best else None

    def reader(self, part: Part) -> Part | None:
        """The part as one that reads and sends; None where nothing is known of its network."""
        assert part.deployment is not None
        try:
            return part_of(self.question, part.deployment, self.sizes, role="prompt")
        except _TOO_SMALL as error:
            self.drop(f"{part.words} as a reader of prompts", error)
            return None


def ways_of(
    question: Question, offer: Offer, sizes: Sizes, progress: Progress
) -> tuple[list[Way], list[Dropped]]:
    """(ways, what fits nowhere), in a fixed order."""
    maker = _Maker(question, sizes, [])
    parts: dict[str, list[Part]] = {}
    for chip in offer.accelerators:
        progress(f"screening {chip.id}")
        parts[chip.id] = maker.chip(chip)
    ways = [maker.way(part) for found in parts.values() for part in found]
    if offer.apart:
        ways += _apart(maker, parts)
    for lpus in offer.systems:
        progress(f"screening {lpus.label}")
        ways += [maker.way(part) for part in _lpus(maker, lpus)]
    for gpu, lpus in offer.pairs:
        progress(f"screening {gpu.id} with {lpus.label}")
        ways += _pair(maker, gpu, lpus, parts.get(gpu.id) or maker.chip(gpu))
    return ways, maker.dropped


def _apart(maker: _Maker, parts: dict[str, list[Part]]) -> Iterator[Way]:
    """Prompts on one kind of replica, tokens on another, of the same or of two kinds of one vendor's chips."""
    best = {chip: maker.best_reader(found) for chip, found in parts.items()}
    made: dict[str, Part | None] = {}
    for chip, found in parts.items():
        alike = [part for part in best.values() if part is not None and _understand(part, found)]
        overall = maker.best_reader(alike)
        readers = {id(part): part for part in (best[chip], overall) if part is not None}
        decoders = [maker.as_decode(part) for part in found]
        for reader in readers.values():
            if reader.words not in made:
                made[reader.words] = maker.reader(reader)
            ready = made[reader.words]
            if ready is not None:
                yield from (maker.way(ready, part) for part in decoders)


def _understand(reader: Part, decoders: Sequence[Part]) -> bool:
    """Whether caches can be handed over: engines of one vendor's chips with the same type of numbers."""
    return any(
        reader.deployment is not None
        and part.deployment is not None
        and reader.deployment.chip.vendor == part.deployment.chip.vendor
        and reader.shown[0].kv == part.shown[0].kv
        for part in decoders
    )


def _lpus(maker: _Maker, lpus: Lpus) -> list[Part]:
    try:
        return list(lpu_parts(maker.question, lpus, maker.sizes))
    except _TOO_SMALL as error:
        maker.drop(lpus.label, error)
        return []


def _pair(maker: _Maker, gpu: Accelerator, lpus: Lpus, found: Sequence[Part]) -> Iterator[Way]:
    """Prompts on GPUs and tokens on LPUs; attention on GPUs and feed-forward on LPUs."""
    best = maker.best_reader(found)
    if best is None:
        return
    for part in _lpus(maker, lpus):
        reader = handing_over(maker.question, best, lpus, part, maker.sizes)
        yield maker.way(reader, maker.as_decode(part))
    try:
        shared = list(shared_parts(maker.question, gpu, lpus, maker.sizes))
    except _TOO_SMALL as error:
        maker.drop(f"{gpu.id} & {lpus.label}", error)
        return
    ready = maker.reader(best)
    if ready is not None:
        yield from (maker.way(ready, part) for part in shared)
