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
from takt.lpu.compiler.image import Image, lanes_of, new_image
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.layout import (
    Layout,
    lay_caches,
    lay_embedding,
    lay_layers,
    start_layout,
)
from takt.lpu.isa.table import Type
from takt.lpu.machine.network import Move
from takt.lpu.system.place import Region, level
from takt.models import Model, ModelShape, TensorRef, random_model, tensor_shapes

F32, F16, I8 = Type.F32, Type.F16, Type.I8

TEXT_WORDS = 1024
"""Words of each work slice kept for the text of one program at a time, 20 instructions a word."""
ROOM_PER_ROW = 14
"""Words of a work slice for intermediate results, for each row worked on together."""


@dataclass(slots=True)
class EncoderLayout(Layout):
    """One layer of an encoder in slot 0, and what is there once: inputs, tables, `state`, caches.

    `state[c]` is chunk c of the rows between programs: two bytes of the normalised row before gain and shift (i8
    weights), or the row as f16.
    """

    state: list[tuple[Buffer, ...]] = field(default_factory=list)
    factor: dict[str, Buffer] = field(default_factory=dict)
    last: dict[str, list[Buffer]] = field(default_factory=dict)  # gain and shift of the last norm
    region: Region | None = None

    def vector_side(self, layer: int, vector: int) -> int:
        """Vectors of heads take turns between the hemispheres, so that both work."""
        return vector % 2

    def values_side(self, layer: int) -> int | None:
        """Both in turn."""
        return None

    @property
    def slot(self) -> Region:
        """The words of slot 0."""
        assert self.region is not None
        return self.region


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipPlan:
    """How a chip is filled: rows of a sequence, number format, slots in use, and whether it looks tokens up."""

    chip: Chip
    weights: Type
    length: int
    n_slots: int
    embeds: bool


def layer_model(model: Model, layer: int) -> Model:
    """One layer of `model` as a model: its own tensors, the norm before it as that of the embedding. Reads nothing."""
    before = "embed.norm" if layer == 0 else f"layers.{layer - 1}.ffn.norm"
    shape = replace(model.shape, n_layers=1, windows=model.shape.windows[:1])
    names = {
        name: name.replace("layers.0.", f"layers.{layer}.", 1).replace("embed.norm", before, 1)
        for name in tensor_shapes(shape)
    }
    tensors = {
        name: TensorRef(dims=dims, read=_Read(model, names[name]))
        for name, dims in tensor_shapes(shape).items()
    }
    return Model(shape=shape, tensors=tensors, source=model.source)


@dataclass(frozen=True, slots=True)
class _Read:
    """One tensor of a model, when asked for."""

    model: Model
    name: str

    def __call__(self) -> np.ndarray:
        return self.model.tensor(self.name)


def timing_model(shape: ModelShape) -> Model:
    """A model of one layer to place and schedule where weights do not matter; its token table is of zeros."""
    one = replace(shape, n_layers=1, windows=shape.windows[:1])
    made = random_model(one)
    tensors = {
        name: TensorRef(
            dims=dims,
            read=_Zeros(dims) if name == "embed.weight" else _Read(made, name),
        )
        for name, dims in tensor_shapes(one).items()
    }
    return Model(shape=one, tensors=tensors, source="one layer of random weights")


@dataclass(frozen=True, slots=True)
class _Zeros:
    dims: tuple[int, ...]

    def __call__(self) -> np.ndarray:
        return np.zeros(self.dims, np.float32)


def place_layer(model: Model, plan: ChipPlan, slot: int = 0) -> EncoderLayout:
    """One layer (`layer_model`) in a slot of a chip, with all that the chip's programs share.

    Whatever the slot and the chip, everything else lies in the same place. Raises CapacityError if the slots do not fit.
    """
    image = new_image(geometry(plan.chip), TEXT_WORDS)
    out = start_layout(model.shape, image, plan.weights, plan.length, kind=EncoderLayout)
    assert isinstance(out, EncoderLayout)
    _state(out)
    _last_norm(out)
    lay_caches(out)
    _token_inputs(out)
    first, work_first = level(image)
    _skip(image, slot * out_words(out, model, plan)[0] if slot else 0, banks=True)
    _skip(image, slot * out_words(out, model, plan)[1] if slot else 0, banks=False)
    lay_layers(out, model)
    _factors(out)
    end, work_end = level(image)
    out.region = Region(
        name="layer", first=first, end=end, work_first=work_first, work_end=work_end
    )
    return out
