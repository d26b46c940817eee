"""Small networks for tests, and int8 networks computed a second time, in plain integers."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from takt.lpu.vision import Conv, ImageGraph, MaxPool, VisionCompiled
from takt.lpu.vision.numbers import constant_lanes, integer_numbers


def conv(
    rng: np.random.Generator,
    name: str,
    source: str,
    shape: tuple[int, int],
    k: int = 3,
    stride: int = 1,
    *,
    relu: bool = True,
    residual: str = "",
    pad: int | None = None,
) -> Conv:
    """`shape` = output and input channels."""
    n, c = shape
    pad = k // 2 if pad is None else pad
    return Conv(
        name=name,
        input=source,
        weight=(rng.standard_normal((n, c, k, k)) * (2 / (c * k * k)) ** 0.5).astype(np.float32),
        bias=(rng.standard_normal(n) * 0.2).astype(np.float32),
        kernel=(k, k),
        stride=(stride, stride),
        pads=(pad, pad, pad, pad),
        relu=relu,
        residual=residual,
    )


def head(rng: np.random.Generator, source: str, shape: tuple[int, int], size: int) -> Conv:
    """Mean over a square image and a fully connected layer."""
    n, c = shape
    weight = rng.standard_normal((n, c, 1, 1)) * (1 / c) ** 0.5 / size**2
    return Conv(
        name="logits",
        input=source,
        weight=weight.astype(np.float32),
        bias=rng.standard_normal(n).astype(np.float32) * 0.1,
        kernel=(size, size),
        uniform=True,
    )


def network(*layers: object, shape: tuple[int, int, int]) -> ImageGraph:
    return ImageGraph(name="test", input="image", input_shape=shape, layers=tuple(layers))


def random_network(rng: np.random.Generator) -> ImageGraph:
    """Sizes, strides, pools, shortcuts and sums as they come; it may end in any of them."""
    c, shape = int(rng.choice([1, 3, 4])), (int(rng.integers(6, 40)), int(rng.integers(6, 40)))
    n = int(rng.choice([8, 16, 32, 64, 100, 256]))
    layers: list[object] = [
        conv(rng, "c0", "image", (n, c), int(rng.choice([1, 3, 5, 7])), int(rng.choice([1, 2])))
    ]
    last = "c0"
    if rng.random() < 0.5:
        k = int(rng.choice([2, 3]))
        pad, stride = int(rng.integers(0, k)) if k == 3 else 0, int(rng.choice([1, 2]))
        layers.append(MaxPool(name="p0", input=last, kernel=(k, k), stride=(stride, stride), pads=(pad,) * 4))  # fmt: skip
        last = "p0"
    for i in range(int(rng.integers(1, 5))):
        m, stride = int(rng.choice([8, 16, 32, 64, 128, 256, 300, 512])), int(rng.choice([1, 1, 2]))
        layers.append(conv(rng, f"a{i}", last, (m, n), int(rng.choice([1, 3])), stride))
        layers.append(conv(rng, f"s{i}", last, (m, n), 1, stride, relu=bool(rng.random() < 0.5)))
        layers.append(conv(rng, f"b{i}", f"a{i}", (m, m), int(rng.choice([1, 3])), relu=bool(rng.random() < 0.7), residual=f"s{i}"))  # fmt: skip
        last, n = f"b{i}", m
        if rng.random() < 0.3:
            layers.append(conv(rng, f"i{i}", last, (n, n), residual=last))
            last = f"i{i}"
    return network(*layers, shape=(c, *shape))


def integer_logits(compiled: VisionCompiled, image: np.ndarray) -> np.ndarray:
    """The logits of an int8 network by docs/vision.md's formulas, without vectors, tiles or cycles."""
    graph, meaning = compiled.graph, compiled._meaning
    first = meaning[graph.input]
    found = {graph.input: np.clip(np.rint(image / np.float32(first.scale)), -128, 127)}
    for layer in graph.layers:
        if not isinstance(layer, Conv):
            found[layer.name] = windows(found[layer.input], layer, -128).max(axis=(3, 4))
            continue
        start, one = constant_lanes(compiled._plan.layouts[layer.input])
        residual = meaning[layer.residual] if layer.residual else None
        numbers = integer_numbers(
            layer, meaning[layer.input], meaning[layer.name], residual, one - start
        )
        view = windows(found[layer.input], layer, meaning[layer.input].zero).astype(np.int64)
        if layer.uniform:
            sums = np.einsum("nc,cyxij->nyx", numbers.weight[:, :, 0, 0].astype(np.int64), view)
        else:
            sums = np.einsum("ncij,cyxij->nyx", numbers.weight.astype(np.int64), view)
        factor = numbers.factor.astype(np.float32)[:, None, None]
        summand = numbers.summand.astype(np.float32)[:, None, None]
        if layer.residual:
            scaled = (sums + numbers.bias[:, None, None]).astype(np.float32) * factor
            found[layer.name] = np.clip(np.rint(scaled) + found[layer.residual], -128, 127)
            continue
        real = sums.astype(np.float32) * factor + summand
        if layer.name == graph.output:
            real = np.maximum(real, np.float32(0)) if layer.relu else real
            narrow = np.clip(real, -65504, 65504).astype(np.float16).astype(np.float32)
            return narrow.reshape(-1) * np.float32(meaning[layer.name].scale)
        found[layer.name] = np.clip(np.rint(real), -128, 127)
    raise AssertionError("no output")


def windows(x: np.ndarray, layer: object, fill: float) -> np.ndarray:
    top, left, bottom, right = layer.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = sliding_window_view(padded, layer.kernel, axis=(1, 2))
    return view[:, :: layer.stride[0], :: layer.stride[1]]
