"""A system's schedule to report on: the visits of one token along the line of groups, and what each of them runs.

`SystemSchedule.of` takes from a compiled system what a report needs; everything else about systems in this room takes
that. A visit is a stage's program on all chips of a group, or a transfer between two groups. It knows nothing of how
the schedule was found; `causes`, `critical`, `use`, `line_trace` and `line_plot` say what it
amounts to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from takt.chips import Chip, Wire
from takt.errors import UsageError
from takt.lpu.system import SystemCompiled
from takt.report.schedule import Ints, Schedule, Span, links_of

CACHE = "keys and values"
CONSTANTS = "constant tiles"
_NAMES = {"q": "q, k, v", "k": "q, k, v", "v": "q, k, v", "o": "attention out", "head": "logits"}
_NAMES |= {"gate": "gate, up", "up": "gate, up", "mix": "down"}
_NAMES |= dict.fromkeys(("ones", "head_ones", "spread", "identity"), CONSTANTS)


class Words(NamedTuple):
    """Words [first, end) of some slices, and the matrix (or group of matrices) that they hold."""

    name: str
    slices: tuple[int, ...]
    first: int
    end: int


class Flight(NamedTuple):
    """One vector on a wire: the program cycles of its send and of its receive at the other end."""

    wire: Wire
    send: int
    receive: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visit:
    """Programs that run side by side on some chips. `schedules` is one for all chips, or one for each.

    `layer` is −1 outside the layers; `words` says which matrix lies where, for programs that load any; `moves` has, for
    a reader, where the words of the program lie on these chips.
    """

    what: str
    kind: str
    layer: int
    stage: int
    start_cycle: int
    cycles: int
    bound_cycles: int
    limit: str
    chips: tuple[int, ...]
    schedules: tuple[Schedule, ...]
    words: tuple[Words, ...] = ()
    moves: tuple[str, ...] = ()

    @property
    def end_cycle(self) -> int:
        """The cycle after its last."""
        return self.start_cycle + self.cycles

    @property
    def is_transfer(self) -> bool:
        """Whether it only carries vectors from one group to the next."""
        return len(self.schedules) > 1

    def schedule_of(self, chip: int) -> Schedule:
        """What one of its chips runs."""
        return self.schedules[self.chips.index(chip) % len(self.schedules)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """What is shown in detail: these visits, on these chips."""

    stage: int
    visits: tuple[Visit, ...]
    chips: tuple[int, ...]

    @property
    def longest(self) -> Visit:
        """The visit that takes longest, transfers aside; of equals the first."""
        return max(self.visits, key=lambda v: (not v.is_transfer, v.cycles))


@dataclass(frozen=True, kw_only=True, eq=False)
class SystemSchedule:
    """One token's visits in order of time, and how the tokens of several users follow each other."""

    model: str
    system: str
    chip: Chip
    n_chips: int
    groups: tuple[tuple[int, ...], ...]
    wires: tuple[Wire, ...]
    users: int
    step_cycles: int
    interval_cycles: int
    period_cycles: int
    visits: tuple[Visit, ...]

    @staticmethod
    def of(system: SystemCompiled) -> SystemSchedule:
        """What a compiled system does for one token, and how often."""
        return SystemSchedule(
            model=system.shape.name,
            system=system.system.id,
            chip=system.cut.chip,
            n_chips=system.n_chips,
            groups=system.groups,
            wires=system.network.wires,
            users=system.users,
            step_cycles=system.step_cycles,
            interval_cycles=system.interval_cycles,
            period_cycles=system.period_cycles,
            visits=tuple(_visits(system)),
        )

    @property
    def chips_used(self) -> int:
        """Chips that hold a part of the model."""
        return sum(map(len, self.groups))

    @property
    def longest(self) -> Visit:
        """The visit of the kind that takes most of the step; of that kind, and of equals, the first."""
        total: dict[str, int] = {}
        for visit in self.visits:
            if not visit.is_transfer:
                total[visit.kind] = total.get(visit.kind, 0) + visit.cycles
        kind = max(total, key=lambda kind: total[kind])
        return next(v for v in self.visits if v.kind == kind and not v.is_transfer)

    @cached_property
    def _wire_at(self) -> dict[tuple[int, int], Wire]:
        return {(wire.source_chip, wire.source_link): wire for wire in self.wires}

    def flights(self, visit: Visit, sources: Sequence[int]) -> list[Flight]:
        """Every vector that these chips of a visit send during it, wire by wire, in order of time."""
        out = []
        for chip in sources:
            for link, sends in links_of(visit.schedule_of(chip), "send").items():
                wire = self._wire_at[chip, link]
                receives = links_of(visit.schedule_of(wire.target_chip), "receive")
                times = receives[wire.target_link]
                out += [Flight(wire, s, r) for s, r in zip(sends, times, strict=True)]
        return out

    @cached_property
    def stage_of(self) -> dict[int, int]:
        """Chip → the stage that its group is."""
        return {chip: stage for stage, group in enumerate(self.groups) for chip in group}

    def shown(self, stage: int | None = None, n_chips: int | None = None) -> Shown:
        """Every visit of a stage, its transfer onward included; by default those of the longest kind's first layer.

        On the first `n_chips` chips of the stage's group, or all of them. Raises UsageError for a stage or a number of
        chips that is not there.
        """
        longest = self.longest
        at = longest.stage if stage is None else stage
        if not 0 <= at < len(self.groups):
            raise UsageError(f"there is no stage {at}: expected 0 to {len(self.groups) - 1}")
        group = self.groups[at]
        if n_chips is not None and not 1 <= n_chips <= len(group):
            raise UsageError(f"{n_chips} chips of a stage: expected 1 to {len(group)}")
        visits = tuple(v for v in self.visits if v.stage == at)
        if stage is None:
            alike = [v for v in visits if v.layer == longest.layer]
            visits = tuple(v for v in alike if v.is_transfer == longest.is_transfer)
        return Shown(stage=at, visits=visits, chips=group[:n_chips])


def _visits(system: SystemCompiled) -> Iterator[Visit]:
    """The visits of user 0's token. The runs of a system program are listed visit by visit, chip by chip."""
    runs = iter(system.program().instances)
    schedules: dict[int, Schedule] = {}
    words: dict[int, tuple[Words, ...]] = {}
    for number, visit in enumerate(system.visits):
        first, *_ = [next(runs) for _ in visit.chips]
        compiled, slot = visit.compiled, visit.slot
        spans: tuple[Span, ...] = ()
        if compiled is not None:
            spans = tuple(Span(p.label, p.layer, p.start, p.end) for p in compiled.placed)
        for program in visit.programs:
            schedule = Schedule(program=program, chip=system.cut.chip, spans=spans)
            schedules.setdefault(id(program), schedule)
        if id(compiled) not in words:
            words[id(compiled)] = tuple(_words(system, number))
        yield Visit(
            what=visit.what,
            kind=visit.what if slot is None else slot.kind.name,
            layer=-1 if slot is None else slot.layer,
            stage=visit.stage,
            start_cycle=visit.start_cycle,
            cycles=visit.cycles,
            bound_cycles=visit.bound_cycles,
            limit=visit.limit,
            chips=visit.chips,
            schedules=tuple(schedules[id(program)] for program in visit.programs),
            words=words[id(compiled)],
            moves=tuple(
                f"words {m.first_word}..{m.end_word - 1} {m.delta:+}" for m in first.relocation
            ),
        )


def _words(system: SystemCompiled, number: int) -> Iterator[Words]:
    """What lies where on the chips of a visit, as its program names the words. Caches come first: tiles are exact."""
    compiled = system.visits[number].compiled
    for layout in () if compiled is None else compiled.layouts:
        image = layout.image
        banks = tuple(s for side in image.banks.values() for bank in side for s in bank)
        cache = layout.regions.get("cache")
        if cache is not None:
            yield Words(CACHE, banks, cache.first, cache.end)
        for (key, _, _), tile in image.tiles.items():
            end = tile.base + (1 if tile.uniform else tile.n_groups)
            yield Words(matrix_name(key), tile.slices, tile.base, end)


def matrix_name(key: str) -> str:
    """What a matrix is called in reports: matrices that are loaded side by side share a name."""
    last = plain(key).rpartition(".")[2]
    return _NAMES.get(last, last)


def plain(label: str) -> str:
    """A key or label without the number of the chosen expert that it is for: `gate` of `gate@3`."""
    return label.partition("@")[0]


def owners(visit: Visit, chip: Chip) -> tuple[tuple[str, ...], Ints]:
    """Names, and for each slice and word of a chip the number of the one that lies there, −1 for none."""
    names = tuple(dict.fromkeys(words.name for words in visit.words))
    number = {name: i for i, name in enumerate(names)}
    out = np.full((chip.mem_slices, chip.mem.words_per_slice), -1, np.int64)
    for words in visit.words:
        out[list(words.slices), words.first : words.end] = number[words.name]
    return names, out
