"""Encoders of many sizes: the chip's pooled vector is that of the fp32 reference, whole blocks of rows at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from takt.chips import Chip
from takt.errors import CapacityError, UnsupportedError
from takt.lpu import Compiled, Session, compile_model
from takt.lpu.isa.table import BY_NAME, Type
from takt.lpu.machine.checker import check
from takt.models import SHAPES, ModelShape, random_model, reference_encoding

from .conftest import ids_of, relative_error

TOLERANCE = {"fp16": 4e-3, "int8": 5e-2}

SIZES: dict[str, tuple[int, dict[str, Any]]] = {
    "smallest": (16, {"dim": 16, "n_heads": 1, "hidden_dim": 16}),
    "five heads in a vector": (64, {"dim": 320, "n_heads": 5, "hidden_dim": 320}),
    "vectors of unequal heads": (64, {"dim": 448, "n_heads": 7, "hidden_dim": 400}),
    "heads of no whole column group": (48, {"dim": 72, "n_heads": 3, "hidden_dim": 100}),
    "packs of three and two": (96, {"dim": 320, "n_heads": 5, "hidden_dim": 96}),
    "one head a pack": (176, {"dim": 128, "n_heads": 2, "hidden_dim": 700}),
    "a whole vector of positions": (320, {"dim": 96, "n_heads": 3, "hidden_dim": 96}),
    "no multiple of 16 positions": (83, {"dim": 64, "n_heads": 2, "hidden_dim": 64}),
    "width of four vectors": (32, {"dim": 1024, "n_heads": 16, "hidden_dim": 640}),
    "five layers": (32, {"n_layers": 5, "dim": 64, "n_heads": 2, "hidden_dim": 96}),
    "relu": (64, {"dim": 64, "n_heads": 2, "hidden_dim": 96, "activation": "relu"}),
}


def encoder_shape(max_context: int, **changes: Any) -> ModelShape:
    """A BERT of two layers with 97 tokens."""
    base: dict[str, Any] = {"n_layers": 2, "vocab_size": 97, "max_context": max_context} | changes
    base["windows"] = (None,) * base["n_layers"]
    base["n_kv_heads"] = base["n_heads"]
    base["head_dim"] = base["dim"] // base["n_heads"]
    base["attention_scale"] = base["head_dim"] ** -0.5
    return replace(SHAPES["bert-base"], name="small encoder", **base)


def encoded(compiled: Compiled, n: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the rows as the chip makes it and as the reference does, `n` tokens."""
    ids = ids_of(compiled.model.shape.vocab_size, n)
    result = Session(compiled, **options).encode(ids)
    assert result.cycles == result.step.program.cycles >= result.step.bound.cycles > 0
    return result.vector, reference_encoding(compiled.model, ids).hidden.mean(axis=0)


@pytest.mark.parametrize("weights", ["fp16", "int8"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_the_vector_of_the_reference(size: str, weights: str, chip: Chip) -> None:
    context, changes = SIZES[size]
    model = random_model(encoder_shape(context, **changes), 3)
    compiled = compile_model(model, chip, weights=weights)
    for n in {1, context // 2, context}:
        found, expected = encoded(compiled, n)
        assert relative_error(found, expected) < TOLERANCE[weights]


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_an_encoder_is_the_same_on_both_engines(weights: str, chip: Chip) -> None:
    shape = encoder_shape(32, dim=64, n_heads=2, hidden_dim=96, n_layers=1)
    compiled = compile_model(random_model(shape), chip, weights=weights)
    slow, fast = (Session(compiled, engine=name) for name in ("reference", "fast"))
    ids = ids_of(97, 20)
    a, b = slow.encode(ids), fast.encode(ids)
    assert a.vector.tobytes() == b.vector.tobytes()
    assert a.cycles == b.cycles
    assert np.array_equal(slow.memory.data, fast.memory.data)


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_the_checker_finds_nothing_in_an_encoder(weights: str, chip: Chip) -> None:
    shape = encoder_shape(128, dim=256, n_heads=4, hidden_dim=640)
    step = compile_model(random_model(shape), chip, weights=weights).encode()
    report = check(step.program, chip)
    assert report.issues == ()
    assert report.cycles == step.program.cycles


def test_longer_sequences_than_a_vector_has_lanes_are_refused(chip: Chip) -> None:
    shape = encoder_shape(512, dim=64, n_heads=2, hidden_dim=96)
    with pytest.raises(UnsupportedError, match="320 positions"):
        compile_model(random_model(shape), chip)


def test_both_planes_of_a_side_take_an_i8_tile_from_the_same_streams(chip: Chip) -> None:
    shape = encoder_shape(64, dim=320, n_heads=5, hidden_dim=1280)
    compiled = compile_model(random_model(shape), chip, weights="int8")
    tiles = [t for t in compiled.layout.image.tiles.values() if t.type is Type.I8]
    rows = compiled.encode().program.instructions
    loads = rows[rows["op"] == BY_NAME["lw"].op]
    twice = len(loads) - len(np.unique(loads[["time", "a", "count"]]))
    assert all(len(tile.planes) == 2 for tile in tiles)
    assert twice >= len(tiles) > 0


def test_the_schedule_of_bert_stays_within_reach_of_its_bound(chip: Chip) -> None:
    """The figures of docs/compiler.md: a layer of BERT-base at 128 rows takes about 13,200 cycles."""
    bert = SHAPES["bert-base"]
    cycles = []
    for n in (1, 2):
        shape = replace(bert, n_layers=n, windows=(None,) * n, vocab_size=500)
        step = compile_model(random_model(shape), chip, weights="int8", context=128).encode()
        cycles.append(step.program.cycles)
        assert step.program.cycles < 1.5 * step.bound.cycles
    assert cycles[1] - cycles[0] < 15_500


def test_an_encoder_that_does_not_fit_says_so(chip: Chip) -> None:
    bert = SHAPES["bert-base"]
    big = replace(bert, n_layers=40, windows=(None,) * 40)
    with pytest.raises(CapacityError, match="does not fit"):
        compile_model(random_model(big), chip, weights="fp16", context=128)
