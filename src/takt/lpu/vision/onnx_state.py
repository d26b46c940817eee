"""An ONNX network on its way to layers: what is known of each tensor, and how attributes are read.

Every tensor is followed as a `View`: which layer makes it, and what is still to be done to it. Operators
(`onnx_operators`) look up views and constants here, make layers, or change the ones that nobody else reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from takt.errors import ModelError, UnsupportedError
from takt.lpu.vision.graph import Conv, Floats, Layer, MaxPool
from takt.lpu.vision.onnx_file import Array, Attribute, Node, OnnxFile

MOST_WEIGHTS = 1 << 24
"""Elements of weights that an operator without any of its own, or with groups, may stand for."""

Pads = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A tensor: the layer that makes it, its shape, and marks: flattened; a mean still to be joined with what follows."""

    layer: str
    shape: tuple[int, int, int]
    is_flat: bool = False
    pads: Pads = (0, 0, 0, 0)  # of zeros around the image, for the convolution that reads it


class Importer:
    """Tensors by name, layers in order, how often each tensor is read; and which layers are means."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.constants: dict[str, Array] = dict(file.constants)
        self.views: dict[str, View] = {}
        self.layers: dict[str, Layer] = {}
        self.means: set[str] = set()
        reads = Counter(name for node in file.nodes for name in node.inputs)
        self.reads = reads + Counter(file.outputs)

    def view(self, node: Node, index: int = 0) -> View:
        """The tensor at an input. ModelError if nothing made it."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if name not in self.views:
            raise ModelError(f"{node.label}: input '{name}' is no tensor made before")
        return self.views[name]

    def plain(self, node: Node, index: int = 0) -> View:
        """A tensor without padding around it that some layer would still have to do."""
        view = self.view(node, index)
        if any(view.pads):
            raise UnsupportedError(f"{node.label}: reads a padded image")
        return view

    def constant(self, node: Node, index: int, default: Array | None = None) -> Array:
        """The constant at an input."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name and default is not None:
            return default
        if name not in self.constants:
            raise UnsupportedError(f"{node.label}: input {index} has to be a constant")
        return self.constants[name]

    def floats(self, node: Node, index: int, size: int) -> Floats:
        """A constant of `size` numbers."""
        values = np.asarray(self.constant(node, index), np.float32).reshape(-1)
        if values.size != size:
            raise ModelError(f"{node.label}: input {index} holds {values.size} numbers, not {size}")
        return values

    def mine(self, node: Node, index: int = 0) -> Conv | None:
        """The convolution behind an input, if nobody else reads it and it can still change."""
        layer = self.layers.get(self.view(node, index).layer)
        alone = self.reads[node.inputs[index]] == 1
        return layer if isinstance(layer, Conv) and alone and not layer.relu else None

    def make(self, node: Node, layer: Layer, shape: tuple[int, int, int]) -> None:
        """A new layer makes the node's output."""
        if layer.name in self.layers or layer.name in self.views:
            raise ModelError(f"{node.label}: '{layer.name}' is made twice")
        self.layers[layer.name] = layer
        self.views[node.outputs[0]] = View(layer=layer.name, shape=shape)

    def change(self, node: Node, layer: Conv, shape: tuple[int, int, int]) -> None:
        """A changed layer makes the node's output, at the end of all layers so far."""
        self.layers.pop(layer.name)
        self.layers[layer.name] = layer
        self.means.discard(layer.name)
        self.views[node.outputs[0]] = View(layer=layer.name, shape=shape)

    def identity(self, node: Node, view: View, stride: tuple[int, int] = (1, 1)) -> Conv:
        """A layer that copies, or subsamples, a tensor."""
        check_size(node, view.shape[0], view.shape[0])
        weight = np.eye(view.shape[0], dtype=np.float32)[:, :, None, None]
        return Conv(
            name=node.outputs[0],
            input=view.layer,
            weight=weight,
            bias=np.zeros(view.shape[0], np.float32),
            kernel=(1, 1),
            stride=stride,
            relu=self.is_positive(view.layer),
        )

    def is_positive(self, name: str) -> bool:
        """Whether a tensor holds nothing below 0."""
        layer = self.layers.get(name)
        if isinstance(layer, MaxPool):
            return self.is_positive(layer.input)
        return layer is not None and layer.relu


def check_size(node: Node, *sizes: int) -> None:
    """UnsupportedError where weights would be too many to write out."""
    total = 1
    for size in sizes:
        total *= size
    if total > MOST_WEIGHTS:
        raise UnsupportedError(f"{node.label}: {total:,} weights")


def ints(
    node: Node, name: str, default: tuple[int, ...], size: int | None = None
) -> tuple[int, ...]:
    """A list of small integers. ModelError for anything else, UnsupportedError for another length."""
    value: Attribute = node.attributes.get(name, default)
    if not isinstance(value, tuple) or not all(
        isinstance(v, int) and abs(v) < 1 << 16 for v in value
    ):
        raise ModelError(f"{node.label}: {name} is no list of small integers")
    if size is not None and len(value) != size:
        raise UnsupportedError(f"{node.label}: {name} of {len(value)} numbers, not {size}")
    return tuple(int(v) for v in value)


def number(node: Node, name: str, default: float) -> float:
    """A number. ModelError for anything else."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise ModelError(f"{node.label}: {name} is no number")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Of a convolution or pool; pads as in `Conv`."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads


def window_of(
    node: Node, shape: tuple[int, int, int], kernel: tuple[int, ...], before: Pads
) -> Window:
    """Kernel, stride and pads of a convolution or pool."""
    if len(kernel) != 2 or min(kernel) < 1:
        raise UnsupportedError(f"{node.label}: a kernel of {kernel}")
    stride = ints(node, "strides", (1, 1), 2)
    if min(stride) < 1:
        raise ModelError(f"{node.label}: strides of {stride}")
    if set(ints(node, "dilations", (1, 1), 2)) != {1}:
        raise UnsupportedError(f"{node.label}: dilation")
    if number(node, "ceil_mode", 0):
        raise UnsupportedError(f"{node.label}: ceil_mode")
    pads = _pads(node, shape, kernel, stride)
    top, left, bottom, right = (a + b for a, b in zip(pads, before, strict=True))
    if min(top, left, bottom, right) < 0:
        raise UnsupportedError(f"{node.label}: pads below 0")
    return Window(kernel=(kernel[0], kernel[1]), stride=(stride[0], stride[1]), pads=(top, left, bottom, right))  # fmt: skip


def _pads(
    node: Node, shape: tuple[int, int, int], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> Pads:
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        need = [
            max((-(-size // s) - 1) * s + k - size, 0)
            for size, k, s in zip(shape[1:], kernel, stride, strict=True)
        ]
        low = [n // 2 if mode == "SAME_UPPER" else n - n // 2 for n in need]
        return (low[0], low[1], need[0] - low[0], need[1] - low[1])
    if mode != "NOTSET":
        raise UnsupportedError(f"{node.label}: auto_pad {mode!r}")
    top, left, bottom, right = ints(node, "pads", (0, 0, 0, 0), 4)
    return (top, left, bottom, right)
