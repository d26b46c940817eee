"""Networks of every supported kind: int8 to the bit against plain integers, fp16 near f32, both engines alike."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.lpu.vision.networks import conv, head, integer_logits, network, random_network

from takt.chips import Chip
from takt.errors import (
    CapacityError,
    DenseQueueError,
    ModelError,
    UnsupportedError,
    UsageError,
)
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine import prove
from takt.lpu.vision import (
    Conv,
    ImageGraph,
    MaxPool,
    compile_vision,
    float_logits,
    resnet50_graph,
)
from takt.lpu.vision.floor import PACES


def pool(name: str, source: str, k: int, stride: int, pad: int) -> MaxPool:
    return MaxPool(name=name, input=source, kernel=(k, k), stride=(stride, stride), pads=(pad,) * 4)


def packed(rng: np.random.Generator) -> ImageGraph:
    """Blocks of pixels, a residual, a shortcut with a stride, a mean: a small ResNet."""
    return network(
        conv(rng, "c1", "image", (16, 3)),
        conv(rng, "a", "c1", (16, 16)),
        conv(rng, "b", "a", (16, 16), residual="c1"),
        conv(rng, "d", "b", (40, 16), stride=2),
        conv(rng, "e", "b", (40, 16), k=1, stride=2, relu=False),
        conv(rng, "f", "d", (40, 40), residual="e"),
        head(rng, "f", (10, 40), 4),
        shape=(3, 8, 8),
    )


def spread(rng: np.random.Generator) -> ImageGraph:
    """A pool over pixels that lie side by side, then a bottleneck."""
    return network(
        conv(rng, "c1", "image", (64, 3), k=7, stride=2),
        pool("p", "c1", 3, 2, 1),
        conv(rng, "a", "p", (64, 64), k=1),
        conv(rng, "b", "a", (64, 64)),
        conv(rng, "down", "p", (256, 64), k=1, relu=False),
        conv(rng, "c", "b", (256, 64), k=1, residual="down"),
        head(rng, "c", (12, 256), 8),
        shape=(3, 32, 32),
    )


def strips(rng: np.random.Generator) -> ImageGraph:
    """A pool without padding over strips, and a window whose last column lies outside."""
    return network(
        conv(rng, "c1", "image", (32, 4)),
        pool("p", "c1", 2, 2, 0),
        conv(rng, "a", "p", (24, 32)),
        head(rng, "a", (5, 24), 8),
        shape=(4, 16, 16),
    )


def wide(rng: np.random.Generator) -> ImageGraph:
    """More channels than lanes, in and out, and outputs that split over all arrays."""
    return network(
        conv(rng, "c1", "image", (310, 3), k=3),
        conv(rng, "a", "c1", (520, 310), k=1),
        conv(rng, "b", "a", (310, 520), k=3, residual="c1"),
        head(rng, "b", (700, 310), 6),
        shape=(3, 6, 6),
    )


def pooled(rng: np.random.Generator) -> ImageGraph:
    """Pools of other windows, on tensors of one pixel a vector; odd sizes; no padding; a relu at the end."""
    return network(
        conv(rng, "c1", "image", (20, 5), k=3, pad=0),
        pool("p", "c1", 2, 2, 0),
        conv(rng, "a", "p", (30, 20), k=5, pad=2),
        pool("q", "a", 3, 1, 1),
        conv(rng, "b", "q", (24, 30), k=3, stride=2, pad=1),
        conv(rng, "out", "b", (7, 24), k=3, pad=0),
        shape=(5, 16, 20),
    )


def ends_in_sum(rng: np.random.Generator) -> ImageGraph:
    return network(
        conv(rng, "c1", "image", (16, 3)),
        conv(rng, "a", "c1", (16, 16), relu=False, residual="c1"),
        shape=(3, 4, 4),
    )


NETWORKS = {f.__name__: f for f in (packed, spread, strips, wide, pooled, ends_in_sum)}


@pytest.fixture(params=NETWORKS)
def graph(request: pytest.FixtureRequest) -> ImageGraph:
    return NETWORKS[request.param](np.random.default_rng(5))


def images(graph: ImageGraph, n: int = 2) -> np.ndarray:
    return np.random.default_rng(6).standard_normal((n, *graph.input_shape)).astype(np.float32)


def test_int8_gives_the_bits_of_plain_integers(graph: ImageGraph, chip: Chip) -> None:
    batch = images(graph)
    compiled = compile_vision(graph, chip, calibration=batch[:1])
    logits = compiled.run(batch)
    for image, found in zip(batch, logits, strict=True):
        assert np.array_equal(found, integer_logits(compiled, image))


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1 << 32),
    size=st.tuples(st.integers(5, 18), st.integers(5, 18)),
    channels=st.lists(st.sampled_from([1, 3, 16, 33, 64, 100, 257, 320]), min_size=3, max_size=3),
    kernels=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    strides=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    pads=st.lists(st.integers(0, 2), min_size=3, max_size=3),
)
def test_any_convolutions_give_the_bits_of_plain_integers(
    chip: Chip,
    seed: int,
    size: tuple[int, int],
    channels: list[int],
    kernels: list[int],
    strides: list[int],
    pads: list[int],
) -> None:
    rng = np.random.default_rng(seed)
    names, widths = ["image", "a", "b", "c"], [3, *channels]
    layers = [
        conv(rng, names[i + 1], names[i], (widths[i + 1], widths[i]), k, s, pad=min(p, k - 1))
        for i, (k, s, p) in enumerate(zip(kernels, strides, pads, strict=True))
    ]
    graph = network(*layers, shape=(3, *size))
    try:
        graph.shapes()
    except ModelError:
        assume(False)
    image = images(graph, 1)
    compiled = compile_vision(graph, chip, calibration=image)
    assert np.array_equal(compiled.run(image)[0], integer_logits(compiled, image[0]))


@pytest.mark.parametrize("seed", [0, *range(2, 10)])
def test_random_networks_give_the_bits_of_plain_integers(chip: Chip, seed: int) -> None:
    graph = random_network(np.random.default_rng(seed))
    image = images(graph, 1)
    compiled = compile_vision(graph, chip, calibration=image)
    assert np.array_equal(compiled.run(image)[0], integer_logits(compiled, image[0]))


@pytest.mark.parametrize("seed", range(10, 14))
def test_random_networks_are_near_f32_in_fp16(chip: Chip, seed: int) -> None:
    graph = random_network(np.random.default_rng(seed))
    image = images(graph, 1)
    found, expected = compile_vision(graph, chip, weights="fp16").run(image), float_logits(graph, image)  # fmt: skip
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_a_residual_may_be_the_input_itself(chip: Chip) -> None:
    rng = np.random.default_rng(1)
    graph = network(
        conv(rng, "a", "image", (40, 3)), conv(rng, "b", "a", (40, 40), residual="a"), shape=(3, 8, 8)
    )  # fmt: skip
    image = images(graph, 1)
    compiled = compile_vision(graph, chip, calibration=image)
    assert np.array_equal(compiled.run(image)[0], integer_logits(compiled, image[0]))


def test_a_program_too_dense_for_its_text_is_paced(chip: Chip) -> None:
    """A network whose reads come in many pieces: the fastest pace leaves a queue no cycle to fetch its text."""
    paces = []
    for pace in (None, *PACES):
        graph = random_network(np.random.default_rng(12))
        image = images(graph, 1)
        with pytest.MonkeyPatch.context() as patch:
            if pace is not None:
                patch.setattr("takt.lpu.vision.compile.PACES", (pace,))
            try:
                compiled = compile_vision(graph, chip, calibration=image)
            except DenseQueueError:
                paces.append(0)
                continue
        assert np.array_equal(compiled.run(image)[0], integer_logits(compiled, image[0]))
        paces.append(compiled.cycles)
    chosen, fastest, *others = paces
    assert fastest == 0
    assert chosen in others


def test_int8_is_near_f32(graph: ImageGraph, chip: Chip) -> None:
    batch = images(graph)
    expected = float_logits(graph, batch)
    found = compile_vision(graph, chip, calibration=batch).run(batch)
    assert np.abs(found - expected).max() < 0.04 * np.abs(expected).max()


def test_fp16_is_near_f32(graph: ImageGraph, chip: Chip) -> None:
    batch = images(graph)
    expected = float_logits(graph, batch)
    found = compile_vision(graph, chip, weights="fp16").run(batch)
    assert np.abs(found - expected).max() < 0.003 * np.abs(expected).max()


@pytest.mark.parametrize("weights", ["int8", "fp16"])
def test_both_engines_give_the_same_bits_and_cycles(
    graph: ImageGraph, chip: Chip, weights: str
) -> None:
    batch = images(graph, 1)
    compiled = compile_vision(graph, chip, weights=weights)
    assert np.array_equal(compiled.run(batch), compiled.run(batch, engine="reference"))
    assert prove(compiled.program, chip).cycles == compiled.cycles


def test_a_schedule_is_not_shorter_than_its_bound(graph: ImageGraph, chip: Chip) -> None:
    compiled = compile_vision(graph, chip)
    assert max(step.end_cycle for step in compiled.steps) < compiled.cycles
    assert compiled.bound.cycles <= compiled.cycles
    rows = compiled.program.instructions
    passes = int(rows["count"][rows["op"] == BY_NAME["abc"].op].sum())
    assert passes == sum(step.passes for step in compiled.steps)
    assert compiled.bound.passes == -(-passes // 4)


def test_compiling_twice_gives_the_same_program(chip: Chip) -> None:
    graph = packed(np.random.default_rng(5))
    one, two = (compile_vision(graph, chip).program for _ in range(2))
    assert np.array_equal(one.instructions, two.instructions)


def test_values_beyond_calibration_saturate(chip: Chip) -> None:
    graph = packed(np.random.default_rng(5))
    batch = images(graph, 1)
    compiled = compile_vision(graph, chip, calibration=batch)
    assert np.array_equal(compiled.run(batch * 50)[0], integer_logits(compiled, batch[0] * 50))


def test_what_is_left_out_is_named(chip: Chip) -> None:
    rng = np.random.default_rng(0)
    twice = network(conv(rng, "a", "image", (8, 3)), conv(rng, "b", "image", (8, 3), residual="a"), shape=(3, 8, 8))  # fmt: skip
    with pytest.raises(UnsupportedError, match="image"):
        compile_vision(twice, chip)
    big = network(conv(rng, "a", "image", (8, 3)), pool("p", "a", 5, 1, 2), shape=(3, 8, 8))
    with pytest.raises(UnsupportedError, match="pool p"):
        compile_vision(big, chip)
    with pytest.raises(UsageError, match="int4"):
        compile_vision(packed(rng), chip, weights="int4")


def test_too_large_an_image_says_what_it_needs(chip: Chip) -> None:
    rng = np.random.default_rng(0)
    graph = network(conv(rng, "a", "image", (64, 3), k=1), shape=(3, 2048, 2048))
    with pytest.raises(CapacityError) as caught:
        compile_vision(graph, chip, weights="fp16")
    assert caught.value.needed == 64 * 2048 * 2048


def test_images_are_checked(chip: Chip) -> None:
    compiled = compile_vision(packed(np.random.default_rng(5)), chip)
    with pytest.raises(ModelError, match="shape"):
        compiled.run(np.zeros((1, 3, 9, 8), np.float32))
    with pytest.raises(ModelError, match="finite"):
        compiled.run(np.full((1, 3, 8, 8), np.nan, np.float32))
    with pytest.raises(UsageError, match="engine"):
        compiled.run(np.zeros((1, 3, 8, 8), np.float32), engine="guess")


def test_layers_that_do_not_fit_each_other_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ModelError, match="channels"):
        network(conv(rng, "a", "image", (8, 4)), shape=(3, 8, 8)).shapes()
    with pytest.raises(ModelError, match="nothing made"):
        network(conv(rng, "a", "b", (8, 3)), shape=(3, 8, 8)).shapes()
    with pytest.raises(ModelError, match="adds"):
        layers = conv(rng, "a", "image", (8, 3)), conv(rng, "b", "a", (4, 8), residual="a")
        network(*layers, shape=(3, 8, 8)).shapes()


def test_resnet50_has_the_published_size() -> None:
    graph = resnet50_graph()
    convs = [layer for layer in graph.layers if isinstance(layer, Conv)]
    assert len(convs) == 54  # 53 convolutions and the fully connected layer
    assert sum(layer.weight.size for layer in convs) == 25_502_912
    assert 4.0e9 < graph.macs() < 4.2e9
    assert 3.7e9 < resnet50_graph(version="1").macs() < 3.95e9
    with pytest.raises(UsageError):
        resnet50_graph(version="3")


@pytest.mark.slow
def test_resnet50_takes_fewer_cycles_than_published(chip: Chip) -> None:
    """20.4 K images/s at 900 MHz are 44,118 cycles an image (Abts et al., ISCA 2020)."""
    graph = resnet50_graph()
    image = images(graph, 1)
    compiled = compile_vision(graph, chip, calibration=image)
    assert compiled.cycles <= 29_100
    assert compiled.cycles <= 1.12 * compiled.bound.cycles
    found, expected = compiled.run(image)[0], float_logits(graph, image)[0]
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert found.argmax() == expected.argmax()
    assert np.array_equal(found, compiled.run(image, engine="reference")[0])
