"""Where an encoder's layers lie on a chip: slots of one size each, and what all programs of a chip share.

One program serves every layer: it knows the first slot, and runs on another by having its addresses moved. Between
programs only the rows themselves last (`state`), in the form in which they also go over wires. Knows no time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from takt.chips import Chip
from takt.errors import CapacityError
from takt.lpu.compiler.geometry import geometry
from takt.lpu.compiler.image import Image, new_image
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.layout import (
    Layout,
    lay_embedding,
    lay_layers,
    start_layout,
)
from takt.lpu.compiler.matrices import HIGH
from takt.lpu.isa.table import Type
from takt.lpu.machine.network import Move
from takt.lpu.system.place import Region, level
from takt.models import Model, ModelShape, random_model, tensor_shapes

F32, F16, I8 = Type.F32, Type.F16, Type.I8

Size = tuple[int, int]
"""Words of a weight slice and of a work slice."""

TEXT_WORDS = 1024
"""Words of each work slice kept for the text of one program at a time, 20 instructions a word."""


@dataclass(slots=True)
class EncoderLayout(Layout):
    """One layer of an encoder in a slot, and what is there once: inputs, tables, `state`, keys and values.

    `state[c]` is chunk c of the rows between programs, normalised, before gain and shift: two bytes (i8 weights), or f16.
    """

    state: list[tuple[Buffer, ...]] = field(default_factory=list)
    factor: dict[str, Buffer] = field(default_factory=dict)
    region: Region | None = None

    @property
    def slot(self) -> Region:
        """The words of slot 0."""
        assert self.region is not None
        return self.region


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipPlan:
    """How chips are filled: number format, rows of a sequence, most slots of any chip."""

    chip: Chip
    weights: Type
    length: int
    n_slots: int = 1


def layer_model(model: Model, layer: int) -> Model:
    """One layer of `model` as a model: its own tensors, the norm before it as that of the embedding. Reads nothing."""
    before = "embed.norm" if layer == 0 else f"layers.{layer - 1}.ffn.norm"
    shape = _one_layer(model.shape)
    names = {
        name: name.replace("layers.0.", f"layers.{layer}.", 1).replace("embed.norm", before, 1)
        for name in tensor_shapes(shape)
    }
    return model.part(shape, names)


def timing_model(shape: ModelShape) -> Model:
    """A model of one layer, to place and schedule where weights do not matter."""
    return random_model(_one_layer(shape)).keeping()


def _one_layer(shape: ModelShape) -> ModelShape:
    return replace(shape, n_layers=1, windows=shape.windows[:1])


def place_layer(
    model: Model, plan: ChipPlan, *, slot: int = 0, size: Size = (0, 0)
) -> EncoderLayout:
    """One layer (`layer_model`) in a slot of a chip, with all that the chip's programs share.

    Whatever the slot and the chip, everything else lies in the same place. `size` is that of a slot, for slots but the
    first. Raises CapacityError if a layer does not fit.
    """
    image = new_image(geometry(plan.chip), TEXT_WORDS)
    out = start_layout(
        model.shape, image, plan.weights, plan.length, kind=EncoderLayout, packed=True
    )
    assert isinstance(out, EncoderLayout)
    _state(out)
    level(image)
    skip(image, (slot * size[0], slot * size[1]))
    first, work_first = level(image)
    lay_layers(out, model)
    _factors(out)
    end, work_end = level(image)
    out.region = Region(
        name="layer", first=first, end=end, work_first=work_first, work_end=work_end
    )
    return out


def place_embedding(model: Model, plan: ChipPlan, n_slots: int) -> EncoderLayout:
    """As `place_layer`, with `n_slots` slots on the chip and the tables of tokens and positions in what is left.

    Raises CapacityError if nothing is left.
    """
    out = place_layer(model, plan)
    slot = out.slot
    skip(out.image, ((n_slots - 1) * slot.words, (plan.n_slots - 1) * slot.work_words))
    lay_embedding(out, model)
    return out


def skip(image: Image, size: Size) -> None:
    """Leave room in every weight slice and every work slice."""
    groups = image.weight_slices, image.work_slices
    for slices, words in zip(groups, size, strict=True):
        for s in slices:
            image.next_word[s] += words
            if image.next_word[s] > image.top[s]:
                raise CapacityError(f"no room in SRAM for {words} more words of layers")


def room_for(out: EncoderLayout) -> int:
    """Slots that a chip without tables has room for."""
    image, slot = out.image, out.slot
    top = min(image.top[s] for s in image.weight_slices)
    return (top - slot.first) // slot.words


def moves_to(slot: int, out: EncoderLayout) -> tuple[Move, ...]:
    """What moves a program of slot 0 to another."""
    region, image = out.slot, out.image
    return tuple(
        Move(first_word=first, end_word=end, delta=slot * (end - first), slices=slices)
        for first, end, slices in (
            (region.first, region.end, image.weight_slices),
            (region.work_first, region.work_end, image.work_slices),
        )
        if slot
    )


def _state(out: EncoderLayout) -> None:
    """Rows between programs, in slices as different as can be."""
    count, type_ = (2, I8) if out.weights is I8 else (1, F16)
    for c in range(len(out.hidden)):
        parts = [
            out.image.buffer(f"state{c}.{i}", type_, out.chunk, side=c % 2, hop=2)
            for i in range(count)
        ]
        out.state.append(tuple(parts))


def _factors(out: EncoderLayout) -> None:
    """Rows with what activations are multiplied by on their way to fixed point, where that differs by layer."""
    if out.weights is not I8:
        return
    for key in ("0.o", "0.down"):
        value = HIGH / out.bounds[key]
        row = np.full((1, out.lanes), value, np.float32)
        out.factor[key] = out.image.constant_row(f"{key}.factor", F32, 1, row, 1)
