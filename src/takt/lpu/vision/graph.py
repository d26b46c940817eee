"""An image network as the compiler sees it: convolutions and maximum pools over named tensors.

Everything else folds into a convolution: batch normalisation, the sum with a shortcut, relu, means, fully connected
layers, subsampled shortcuts. Reading files is `onnx`'s job; quantisation, layouts and time are other modules'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.errors import ModelError

Floats = NDArray[np.float32]
Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv:
    """`name` = relu(weight * input + bias + residual); relu and residual where asked for.

    weight f32 [out, in, height, width]. A `uniform` one has the same weights at every tap of `kernel` and stores them once
    ([out, in, 1, 1]). pads: top, left, bottom, right.
    """

    name: str
    input: str
    weight: Floats
    bias: Floats
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu: bool = False
    residual: str = ""
    uniform: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """`name` = the maximum over each window of `input`; what lies outside never wins."""

    name: str
    input: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


Layer = Conv | MaxPool


def sources(layer: Layer) -> tuple[str, ...]:
    """The tensors a layer reads: its input, then its residual."""
    if isinstance(layer, Conv) and layer.residual:
        return layer.input, layer.residual
    return (layer.input,)


def output_size(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> tuple[int, int]:
    """Height and width that a window yields. ModelError where it does not fit once."""
    rows = (size[0] + pads[0] + pads[2] - kernel[0]) // stride[0] + 1
    columns = (size[1] + pads[1] + pads[3] - kernel[1]) // stride[1] + 1
    if rows < 1 or columns < 1:
        raise ModelError(f"a window of {kernel} does not fit an image of {size} with pads {pads}")
    return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageGraph:
    """Layers in an order in which each reads what is already there; the last one's output is the network's."""

    name: str
    input: str
    input_shape: Shape
    layers: tuple[Layer, ...]

    @property
    def output(self) -> str:
        """Name of the network's output."""
        return self.layers[-1].name

    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor. ModelError where layers do not fit each other."""
        shapes = {self.input: self.input_shape}
        for layer in self.layers:
            missing = [name for name in sources(layer) if name not in shapes]
            if missing:
                raise ModelError(
                    f"layer {layer.name} reads {missing[0]}, which nothing made before"
                )
            channels, *size = shapes[layer.input]
            out = output_size((size[0], size[1]), layer.kernel, layer.stride, layer.pads)
            if isinstance(layer, Conv):
                if layer.weight.shape[1] != channels:
                    raise ModelError(
                        f"layer {layer.name} wants {layer.weight.shape[1]} channels, {layer.input} has {channels}"
                    )
                channels = layer.weight.shape[0]
            shape = (channels, *out)
            if isinstance(layer, Conv) and layer.residual and shapes[layer.residual] != shape:
                raise ModelError(
                    f"layer {layer.name} makes {shape} and adds {shapes[layer.residual]}"
                )
            shapes[layer.name] = shape
        return shapes

    def macs(self) -> int:
        """Multiply-accumulates of one image, padding not skipped; a uniform kernel counts once."""
        shapes, total = self.shapes(), 0
        for layer in self.layers:
            if isinstance(layer, Conv):
                total += layer.weight.size * shapes[layer.name][1] * shapes[layer.name][2]
        return total


def untangle(graph: ImageGraph) -> ImageGraph:
    """The same network, with copies (1×1 convolutions) where a program needs a tensor of its own.

    That is a residual which is also its layer's input, and a result of something else than a convolution without residual.
    """
    shapes, layers = graph.shapes(), list[Layer]()
    positive: set[str] = set()

    def copy(name: str, source: str) -> str:
        channels = shapes[source][0]
        layers.append(
            Conv(
                name=name,
                input=source,
                weight=np.eye(channels, dtype=np.float32)[:, :, None, None],
                bias=np.zeros(channels, np.float32),
                kernel=(1, 1),
                relu=source in positive,
            )
        )
        return name

    for layer in graph.layers:
        if isinstance(layer, Conv) and layer.residual == layer.input:
            layers.append(replace(layer, residual=copy(f"{layer.name}.copy", layer.input)))
        else:
            layers.append(layer)
        if layer.relu if isinstance(layer, Conv) else layer.input in positive:
            positive.add(layer.name)
    last = layers[-1]
    if not isinstance(last, Conv) or last.residual:
        copy(f"{last.name}.out", last.name)
    return replace(graph, layers=tuple(layers))
