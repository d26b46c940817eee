"""Which figures stand for a family and type on a chip: the order in which measurements are preferred.

    1. a table of the chip itself;
    2. the table of the nearest measured chip, carried over to this chip's peaks;
    3. efficiencies fitted over the measured chips of its vendor for the type, if the chip has units for it;
    4. efficiencies of a like type (`siblings`) on the chip, the nearest one, the chips of its vendor;
    5. efficiencies fitted over all measured chips together.

Knows no sizes: `model` asks for the times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from takt.chips import Accelerator, load_accelerator
from takt.errors import DataError

from .book import (
    EVERY_CHIP,
    Fit,
    QueryBlock,
    fits,
    prompt_walks,
    query_blocks,
    tables_of,
)
from .efficiency import Efficiency
from .families import compute_type, siblings
from .peaks import Peaks, carried_over, is_native, peaks_of
from .surface import Surface
from .work import Floats, Work

__all__ = ["ANY_TYPE", "Source", "Sources"]

# The fit over all chips and all types of a family: what is left when nothing like a type was measured.
ANY_TYPE = "any"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A table or efficiencies, with the chip's peaks for them."""

    peaks: Peaks
    surface: Surface | None
    efficiency: Efficiency | None
    basis: str
    error: float

    def time_s(self, work: Work) -> Floats:
        """Seconds, never below the roofline."""
        if self.surface is not None:
            return np.maximum(self.surface.time_s(work.at), self.peaks.floor_s(work))
        return self.fitted_s(work, self.peaks)

    def fitted_s(self, work: Work, peaks: Peaks) -> Floats:
        """Seconds of the fitted efficiencies at some peaks."""
        if self.efficiency is None:
            raise DataError("a table has no efficiencies of its own", key=self.basis)
        return self.efficiency.time_s(work, peaks.bytes_per_s, peaks.ops_per_s)


@dataclass(slots=True)
class Sources:
    """The sources of one chip and engine, looked up once each; `found` is its own."""

    chip: Accelerator
    engine: str
    found: dict[tuple[str, str], Source] = field(default_factory=dict)

    def of(self, family: str, type_name: str) -> Source:
        """The source for a family and type. Raises UsageError for an unknown family."""
        key = (family, type_name)
        if key not in self.found:
            self.found[key] = self._look_up(family, type_name)
        return self.found[key]

    def fit(self, family: str, type_name: str) -> Source:
        """Efficiencies for a family and type, also where there is a table."""
        peaks = peaks_of(self.chip, family, type_name)
        for chip_id, name in self._candidates(type_name):
            found = fits().get((chip_id, family, name))
            if found is not None:
                return _fitted(found, peaks, chip_id, family, name, type_name)
        return _fitted(
            fits()[EVERY_CHIP, family, ANY_TYPE], peaks, EVERY_CHIP, family, ANY_TYPE, type_name
        )

    def _candidates(self, type_name: str) -> Iterator[tuple[str, str]]:
        """(chip or vendor, type) whose fit may stand in, the most alike first.

        Another chip's fit of the very type says more than this chip's of a like type, unless this chip has no
        units for it and widens what the other multiplies.
        """
        alike = siblings(type_name)
        near = (self.chip.id, self.chip.nearest)
        yield from ((chip_id, type_name) for chip_id in near)
        if is_native(self.chip, type_name):
            yield self.chip.vendor, type_name
        yield from ((chip_id, name) for chip_id in (*near, self.chip.vendor) for name in alike)
        yield from ((EVERY_CHIP, name) for name in alike)

    def walk_s_per_position(self) -> float:
        """Seconds that one block of queries takes past each cached position of a prompt's context."""
        walks = prompt_walks()
        chips = (self.chip.id, self.chip.nearest, EVERY_CHIP)
        walk = next((walks[name] for name in chips if name in walks), 0.0)
        return walk / self.chip.ops_per_s("bf16")

    def query_block(self) -> QueryBlock | None:
        """The block that a generating user's query fills in a call that reads prompts too; None where nobody measured one."""
        blocks = query_blocks()
        chips = (self.chip.id, self.chip.nearest, EVERY_CHIP)
        found = (blocks.get((name, self.engine)) for name in chips)
        return next((block for block in found if block), None)

    def _look_up(self, family: str, type_name: str) -> Source:
        compute_type(family, type_name)
        peaks = peaks_of(self.chip, family, type_name)
        own = tables_of(self.chip.id, self.engine).get((family, type_name))
        if own is not None:
            return Source(
                peaks=peaks,
                surface=own.surface,
                efficiency=None,
                basis=f"measured: {own.basis}",
                error=own.error,
            )
        return self._carried_over(family, type_name, peaks) or self.fit(family, type_name)

    def _carried_over(self, family: str, type_name: str, peaks: Peaks) -> Source | None:
        nearest = self.chip.nearest
        near = tables_of(nearest, self.engine).get((family, type_name))
        if nearest == self.chip.id or near is None:
            return None
        measured = peaks_of(load_accelerator(nearest), family, type_name)
        away = fits().get((nearest, family, type_name))
        return Source(
            peaks=peaks,
            surface=carried_over(near.surface, family, type_name, measured, peaks),
            efficiency=None,
            basis=f"roofline (efficiencies of {nearest} {family} {type_name})",
            error=max(near.error, away.error if away else 0.0),
        )


def _fitted(found: Fit, peaks: Peaks, chip_id: str, family: str, name: str, wanted: str) -> Source:
    error = found.error
    if name != wanted:
        error = max(error, fits()[EVERY_CHIP, family, ANY_TYPE].error)
    of = f"efficiencies of {chip_id} {family} {name}" if chip_id else "default efficiencies"
    return Source(
        peaks=peaks,
        surface=None,
        efficiency=found.efficiency,
        basis=f"roofline ({of})",
        error=error,
    )
