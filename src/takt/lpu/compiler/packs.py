"""An encoder's attention on the chip: several heads side by side in one tile, and where its tiles lie.

A sequence of up to 160 positions leaves room for more than one head in the 320 columns of a tile. A *pack* is the heads
of a vector that share a tile: columns s · span … s · span + span − 1 of its key tile hold the keys of its s-th head, zero on
the lanes of all other heads. So a row of queries, all heads together, gives the scores of the whole pack in one pass,
and no query is ever masked. With the weights packed the same way, the value tile has a head's values in the rows of its
slot, and the pack's heads come out on their lanes.

Positions are spread over the slices of a bank so that neighbours lie in successive words of one slice (`Buffer.run`):
a block of rows then is a few repeated instructions. `Packs.position` says which position a lane of the weights holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from takt.errors import UnsupportedError
from takt.lpu.compiler.image import Image
from takt.lpu.compiler.ir import Buffer, Tile
from takt.lpu.compiler.lanes import HeadLanes
from takt.lpu.isa.table import Type

F16, U8 = Type.F16, Type.U8

_GROUP = 16  # columns of a tile that are loaded at once
_BANK = 1  # that holds keys and values: the one without the weights of the attention part
_SETS = 2  # of key and value buffers: layers take turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Heads `first` … `first + n_heads − 1` of a vector of heads; `index` counts the packs of a layer."""

    index: int
    vector: int
    first: int
    n_heads: int
    first_lane: int
    end_lane: int

    @property
    def first_group(self) -> int:
        """The first column group that holds lanes of the pack."""
        return self.first_lane // _GROUP

    @property
    def n_groups(self) -> int:
        """Column groups that hold lanes of the pack."""
        return -(-self.end_lane // _GROUP) - self.first_group


@dataclass(slots=True, eq=False)
class Packs:
    """Packs by vector, and their tiles and buffers. `span`: positions of a slot, a multiple of 16."""

    span: int
    by_vector: tuple[tuple[Pack, ...], ...]
    position: NDArray[
        np.int64
    ]  # [lanes]: position whose key is in this column of a slot, −1 for none
    keys: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # set, pack
    rows: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # set, pack: value rows
    values: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # set, pack: transposed
    own: dict[tuple[int, int], Tile] = field(default_factory=dict)  # side, pack
    totals: dict[tuple[int, int], Tile] = field(default_factory=dict)  # side, pack
    units: dict[int, Buffer] = field(default_factory=dict)  # pack: rows of the identity
    masks: list[Buffer] = field(default_factory=list)  # slot of the vector

    @property
    def run(self) -> int:
        """Successive positions in one slice."""
        return self.span // _GROUP

    def all(self) -> list[Pack]:
        """Every pack of a layer."""
        return [pack for packs in self.by_vector for pack in packs]

    def score_side(self, layer: int, pack: Pack) -> int:
        """The hemisphere that makes a pack's scores and transposes its values."""
        return (pack.index + layer) % 2

    def value_side(self, layer: int, vector: int) -> int:
        """The hemisphere that weighs a vector's values; the other sums the weights."""
        return (vector + layer) % 2

    def key_tile(self, layer: int, pack: Pack) -> Tile:
        """Keys of a pack: column = slot and position, row = lane."""
        return self._slots(
            f"{layer}.K{pack.index}", self.score_side(layer, pack), self.keys, layer, pack
        )

    def row_tile(self, layer: int, pack: Pack) -> Tile:
        """Value rows of a pack: column = slot and position, row = lane."""
        return self._slots(
            f"{layer}.R{pack.index}", self.score_side(layer, pack), self.rows, layer, pack
        )

    def _slots(
        self, name: str, side: int, of: dict[tuple[int, int], Buffer], layer: int, pack: Pack
    ) -> Tile:
        source = of[layer % _SETS, pack.index]
        return Tile(
            name,
            F16,
            side,
            pack.n_heads * self.run,
            slices=source.slices[0] + source.slices[1],
            base=source.bases[0],
            high=source.bases[1] - source.bases[0],
            sources=(source,),
        )

    def value_tile(self, layer: int, pack: Pack) -> Tile:
        """Values of a pack: column = lane of the value vector, row = slot and position."""
        source = self.values[layer % _SETS, pack.index]
        return Tile(
            f"{layer}.V{pack.index}",
            F16,
            self.value_side(layer, pack.vector),
            pack.n_groups,
            slices=source.slices[0] + source.slices[1],
            base=source.bases[0],
            high=source.bases[1] - source.bases[0],
            first_group=pack.first_group,
            sources=(source,),
        )


def place_packs(image: Image, heads: HeadLanes, n_heads: int, head_dim: int, span: int) -> Packs:
    """Divide the heads into packs for sequences of up to `span` positions, and place all that attention needs.

    Raises UnsupportedError if a sequence does not fit one tile.
    """
    lanes = image.g.lanes
    if span > lanes:
        raise UnsupportedError(f"sequences of up to {lanes} positions, got {span}")
    out = Packs(
        span=span,
        by_vector=_divide(heads, n_heads, head_dim, lanes // span),
        position=_positions(lanes, span),
    )
    for slot in range(heads.per_vector):
        mask = np.zeros((1, lanes), np.uint8)
        mask[0, slot * head_dim : (slot + 1) * head_dim] = 1
        place = 11 - slot % 4
        out.masks.append(image.constant_row(f"head_mask.{slot}", U8, 1, mask, place))
    for pack in out.all():
        _constants(out, image, pack, head_dim)
        for turn in range(_SETS):
            _buffers(out, image, pack, turn)
    return out


def _divide(
    heads: HeadLanes, n_heads: int, head_dim: int, most: int
) -> tuple[tuple[Pack, ...], ...]:
    """At most `most` heads a pack, as even as can be."""
    out: list[tuple[Pack, ...]] = []
    index = 0
    for vector in range(heads.n_kv):
        here = min(heads.per_vector, n_heads - vector * heads.per_vector)
        n = -(-here // most)
        cuts = [here * i // n for i in range(n + 1)]
        packs = []
        for first, end in pairwise(cuts):
            packs.append(
                Pack(
                    index=index,
                    vector=vector,
                    first=first,
                    n_heads=end - first,
                    first_lane=first * head_dim,
                    end_lane=end * head_dim,
                )
            )
            index += 1
        out.append(tuple(packs))
    return tuple(out)


def _positions(lanes: int, span: int) -> NDArray[np.int64]:
    run = span // _GROUP
    group, nth = np.divmod(np.arange(lanes), _GROUP)
    position = nth * run + group % run
    return np.where(group < lanes // span * run, position, -1)


def _slot_of(out: Packs, lanes: int) -> NDArray[np.int64]:
    """Slot of each column of a key tile, −1 for none."""
    slot = np.arange(lanes) // _GROUP // out.run
    return np.where(slot < lanes // out.span, slot, -1)


def _constants(out: Packs, image: Image, pack: Pack, head_dim: int) -> None:
    """Tiles that sum a pack's lanes into its slots and its slots into its lanes; rows of the identity."""
    lanes = image.g.lanes
    slot = _slot_of(out, lanes)
    head = np.arange(lanes) // head_dim - pack.first  # slot whose head has this lane
    mine = (head >= 0) & (head < pack.n_heads)
    within = (slot[:, None] == head[None, :]) & mine[None, :]
    # Lanes of no head at all still need a sum that is not zero.
    last = max(p.end_lane for p in out.by_vector[pack.vector])
    spare = np.arange(lanes) >= last if pack.first == 0 else np.zeros(lanes, bool)
    summed = within.T | (spare[:, None] & (slot == 0)[None, :])
    key = f"{pack.first}.{pack.n_heads}.{last}"
    for side in (0, 1):
        out.own[side, pack.index] = image.pattern(
            f"own.{key}", side, np.where(within, np.float32(-1), np.float32(0))
        )
        out.totals[side, pack.index] = image.pattern(
            f"totals.{key}", side, summed.astype(np.float32)
        )
    name = f"units.{pack.first_group}.{pack.n_groups}"
    if name not in image.buffers:
        turn, group = np.divmod(np.arange(pack.n_groups * _GROUP), pack.n_groups)
        rows = np.eye(lanes, dtype=np.float16)[_GROUP * (pack.first_group + group) + turn]
        image.buffer(name, F16, len(rows), content=rows)
    out.units[pack.index] = image.buffers[name]


def _buffers(out: Packs, image: Image, pack: Pack, turn: int) -> None:
    """Keys, value rows and transposed values of a pack, for every other layer."""
    side = out.score_side(turn, pack)
    rows = pack.n_heads * out.span
    name, bank = f"{turn}.{pack.index}", None if image.compact else _BANK
    out.keys[turn, pack.index] = image.cache(f"keys.{name}", rows, side, out.run, bank)
    out.rows[turn, pack.index] = image.cache(f"rows.{name}", rows, side, out.run, bank)
    out.values[turn, pack.index] = image.cache(
        f"values.{name}",
        pack.n_groups * _GROUP,
        out.value_side(turn, pack.vector),
        pack.n_groups,
        bank,
    )
