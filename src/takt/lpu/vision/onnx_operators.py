"""What each ONNX operator does to the layers: everything foldable is folded, what is not understood is named and refused.

Batch normalisation, channel padding, biases, sums and relu change the convolution that makes their input, as long as nobody else
reads it; otherwise they become 1×1 convolutions of their own. Means are uniform convolutions; a mean and the matrix after it
are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from takt.errors import ModelError, UnsupportedError
from takt.lpu.vision.graph import Conv, Floats, MaxPool, output_size
from takt.lpu.vision.onnx_file import Node
from takt.lpu.vision.onnx_state import Importer, Window, check_size, ints, number, window_of


def _conv(importer: Importer, node: Node) -> None:
    view, weight = importer.view(node), importer.constant(node, 1)
    if weight.ndim != 4 or view.is_flat:
        raise UnsupportedError(f"{node.label}: weights of {weight.ndim} dimensions")
    weight = _ungroup(node, np.asarray(weight, np.float32), view.shape[0])
    n = weight.shape[0]
    bias = importer.floats(node, 2, n) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(n, np.float32)  # fmt: skip
    kernel = ints(node, "kernel_shape", weight.shape[2:], 2)
    if kernel != weight.shape[2:]:
        raise ModelError(f"{node.label}: kernel_shape {kernel}, but weights {weight.shape[2:]}")
    window = window_of(node, view.shape, kernel, view.pads)
    layer = Conv(name=node.outputs[0], input=view.layer, weight=weight, bias=bias, kernel=window.kernel, stride=window.stride, pads=window.pads)  # fmt: skip
    importer.make(node, layer, (n, *output_size(view.shape[1:], window.kernel, window.stride, window.pads)))  # fmt: skip


def _ungroup(node: Node, weight: Floats, channels: int) -> Floats:
    """Weights of a grouped convolution with zeros between the groups."""
    groups = int(number(node, "group", 1))
    n, inner = weight.shape[:2]
    if groups < 1 or inner * groups != channels or n % groups:
        raise ModelError(f"{node.label}: {groups} groups of {inner} channels read {channels}")
    if groups == 1:
        return weight
    check_size(node, n, channels, *weight.shape[2:])
    out = np.zeros((n, channels, *weight.shape[2:]), np.float32)
    each = n // groups
    for g in range(groups):
        out[g * each : (g + 1) * each, g * inner : (g + 1) * inner] = weight[g * each : (g + 1) * each]  # fmt: skip
    return out


def _batch_norm(importer: Importer, node: Node) -> None:
    view = importer.plain(node)
    gain, offset, mean, variance = (importer.floats(node, i, view.shape[0]) for i in range(1, 5))
    if np.any(variance < 0):
        raise ModelError(f"{node.label}: a negative variance")
    factor = gain / np.sqrt(variance + np.float32(number(node, "epsilon", 1e-5)))
    layer, fresh = importer.mine(node), False
    if layer is None or layer.residual:
        layer, fresh = replace(importer.identity(node, view), relu=False), True
    scaled = replace(
        layer,
        weight=(layer.weight * factor[:, None, None, None]).astype(np.float32),
        bias=((layer.bias - mean) * factor + offset).astype(np.float32),
    )
    if fresh:
        importer.make(node, scaled, view.shape)
    else:
        importer.change(node, scaled, view.shape)


def _relu(importer: Importer, node: Node) -> None:
    layer, view = importer.mine(node), importer.plain(node)
    if layer is None:
        importer.make(node, replace(importer.identity(node, view), relu=True), view.shape)
    else:
        importer.change(node, replace(layer, relu=True), view.shape)


def _add(importer: Importer, node: Node) -> None:
    if len(node.inputs) != 2:
        raise ModelError(f"{node.label}: {len(node.inputs)} inputs")
    for index in (0, 1):
        if node.inputs[index] in importer.constants:
            _add_constant(importer, node, 1 - index, index)
            return
    views = importer.plain(node, 0), importer.plain(node, 1)
    if views[0].shape != views[1].shape:
        raise UnsupportedError(f"{node.label}: adds {views[0].shape} and {views[1].shape}")
    for index in (1, 0):
        layer = importer.mine(node, index)
        if layer is not None and not layer.residual and views[0].layer != views[1].layer:
            joined = replace(layer, residual=views[1 - index].layer)
            importer.change(node, joined, views[0].shape)
            return
    copy = replace(importer.identity(node, views[0]), relu=False, residual=views[1].layer)
    importer.make(node, copy, views[0].shape)


def _add_constant(importer: Importer, node: Node, tensor: int, constant: int) -> None:
    layer, view = importer.mine(node, tensor), importer.plain(node, tensor)
    values = np.asarray(importer.constants[node.inputs[constant]], np.float32)
    on_channels = values.shape[-3:] == (view.shape[0], 1, 1) or view.shape[1:] == (1, 1)
    if layer is None or not (values.size == 1 or (on_channels and values.size == view.shape[0])):
        raise UnsupportedError(f"{node.label}: adds a constant that is no bias of a layer")
    importer.change(node, replace(layer, bias=layer.bias + values.reshape(-1)), view.shape)


def _max_pool(importer: Importer, node: Node) -> None:
    view = importer.plain(node)
    window = window_of(node, view.shape, ints(node, "kernel_shape", ()), (0, 0, 0, 0))
    if any(pad >= k for pad, k in zip(window.pads, window.kernel * 2, strict=True)):
        raise ModelError(f"{node.label}: a window that lies outside the image")
    layer = MaxPool(name=node.outputs[0], input=view.layer, kernel=window.kernel, stride=window.stride, pads=window.pads)  # fmt: skip
    importer.make(node, layer, (view.shape[0], *output_size(view.shape[1:], window.kernel, window.stride, window.pads)))  # fmt: skip


def _mean(importer: Importer, node: Node) -> None:
    view = importer.plain(node)
    size = (view.shape[1], view.shape[2])
    window = Window(kernel=size, stride=(1, 1), pads=(0, 0, 0, 0))
    if node.op == "AveragePool":
        window = window_of(node, view.shape, ints(node, "kernel_shape", ()), (0, 0, 0, 0))
        if any(window.pads) and not number(node, "count_include_pad", 0):
            raise UnsupportedError(f"{node.label}: padding that is not counted")
    layer = importer.identity(node, view)
    layer = replace(
        layer,
        weight=layer.weight / np.float32(window.kernel[0] * window.kernel[1]),
        kernel=window.kernel,
        stride=window.stride,
        pads=window.pads,
        uniform=True,
    )
    importer.make(node, layer, (view.shape[0], *output_size(size, window.kernel, window.stride, window.pads)))  # fmt: skip
    if window.kernel == size and not any(window.pads):
        importer.means.add(layer.name)


def _flatten(importer: Importer, node: Node) -> None:
    view = importer.plain(node)
    if node.op == "Flatten" and int(number(node, "axis", 1)) != 1:
        raise UnsupportedError(f"{node.label}: axis other than 1")
    if node.op == "Reshape":
        shape = np.asarray(importer.constant(node, 1)).reshape(-1).tolist()
        total = view.shape[0] * view.shape[1] * view.shape[2]
        if len(shape) != 2 or shape[0] not in (0, 1, -1) or shape[1] not in (-1, total) or shape == [-1, -1]:  # fmt: skip
            raise UnsupportedError(f"{node.label}: to {shape}")
    if node.op == "Squeeze" and view.shape[1:] != (1, 1):
        raise UnsupportedError(f"{node.label}: of an image of {view.shape}")
    importer.views[node.outputs[0]] = replace(view, is_flat=True)
    if importer.reads[node.inputs[0]] != 1:
        importer.means.discard(view.layer)


def _gemm(importer: Importer, node: Node) -> None:
    view, weight = importer.plain(node), np.asarray(importer.constant(node, 1), np.float32)
    if weight.ndim != 2 or not (view.is_flat or view.shape[1:] == (1, 1)):
        raise UnsupportedError(f"{node.label}: expected a flat vector and a matrix")
    if node.op == "Gemm" and (number(node, "transA", 0) or {number(node, "alpha", 1), number(node, "beta", 1)} != {1.0}):  # fmt: skip
        raise UnsupportedError(f"{node.label}: transA, alpha or beta")
    if node.op == "MatMul" or not number(node, "transB", 0):
        weight = weight.T
    n = weight.shape[0]
    if weight.shape[1] != view.shape[0] * view.shape[1] * view.shape[2]:
        raise ModelError(f"{node.label}: a matrix of {weight.shape} for {view.shape}")
    bias = importer.floats(node, 2, n) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(n, np.float32)  # fmt: skip
    mean = importer.layers.get(view.layer)
    if (
        isinstance(mean, Conv)
        and view.layer in importer.means
        and importer.reads[node.inputs[0]] == 1
    ):
        # A mean and what follows it are one convolution over the whole image.
        kernel, source = mean.kernel, mean.input
        weight = weight / np.float32(kernel[0] * kernel[1])
        layer = Conv(name=node.outputs[0], input=source, weight=weight[:, :, None, None], bias=bias, kernel=kernel, uniform=True)  # fmt: skip
    else:
        kernel = (view.shape[1], view.shape[2])
        layer = Conv(name=node.outputs[0], input=view.layer, weight=weight.reshape(n, *view.shape), bias=bias, kernel=kernel)  # fmt: skip
    importer.make(node, layer, (n, 1, 1))


def _pad(importer: Importer, node: Node) -> None:
    view = importer.plain(node)
    pads = np.asarray(importer.constant(node, 1)).reshape(-1).tolist() if len(node.inputs) > 1 else list(ints(node, "pads", ()))  # fmt: skip
    value = float(np.asarray(importer.constant(node, 2, np.zeros(1, np.float32))).reshape(-1)[0])
    mode = node.attributes.get("mode", "constant")
    if len(pads) != 8 or mode != "constant" or value or pads[0] or pads[4] or min(pads) < 0 or max(pads) >= 1 << 14:  # fmt: skip
        raise UnsupportedError(f"{node.label}: other than zeros around channels, rows and columns")
    before, after = int(pads[1]), int(pads[5])
    around = (int(pads[2]), int(pads[3]), int(pads[6]), int(pads[7]))
    if not before and not after:
        importer.views[node.outputs[0]] = replace(view, pads=around)
        return
    # Zero channels are weights of zero.
    layer, fresh = importer.layers.get(view.layer), False
    alone = isinstance(layer, Conv) and importer.reads[node.inputs[0]] == 1 and not layer.residual
    if not isinstance(layer, Conv) or not alone:
        layer, fresh = importer.identity(node, view), True
    check_size(node, before + after + len(layer.weight), *layer.weight.shape[1:])
    rows = (before, after)
    layer = replace(layer, weight=np.pad(layer.weight, (rows, (0, 0), (0, 0), (0, 0))), bias=np.pad(layer.bias, rows))  # fmt: skip
    shape = (view.shape[0] + before + after, view.shape[1], view.shape[2])
    if fresh:
        importer.make(node, layer, shape)
    else:
        importer.change(node, layer, shape)
    importer.views[node.outputs[0]] = replace(importer.views[node.outputs[0]], pads=around)


def _slice(importer: Importer, node: Node) -> None:
    """Every second (or nth) row and column: a 1×1 convolution with a stride."""
    view = importer.plain(node)
    starts, ends = (np.asarray(importer.constant(node, i)).reshape(-1).tolist() for i in (1, 2))
    axes = np.asarray(importer.constant(node, 3, np.arange(len(starts)))).reshape(-1).tolist()
    steps = np.asarray(importer.constant(node, 4, np.ones(len(starts)))).reshape(-1).tolist()
    stride = [1, 1]
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError(f"{node.label}: starts, ends, axes and steps differ in length")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis % 4
        if (
            axis not in (2, 3)
            or start != 0
            or end < view.shape[axis - 1]
            or not 1 <= step < 1 << 10
        ):
            raise UnsupportedError(
                f"{node.label}: other than every nth row and column from the first"
            )
        stride[axis - 2] = int(step)
    layer = importer.identity(node, view, (stride[0], stride[1]))
    size = (view.shape[1], view.shape[2])
    importer.make(node, layer, (view.shape[0], *output_size(size, (1, 1), layer.stride, layer.pads)))  # fmt: skip


def _alias(importer: Importer, node: Node) -> None:
    name = node.inputs[0]
    if name in importer.constants:
        importer.constants[node.outputs[0]] = importer.constants[name]
    else:
        importer.views[node.outputs[0]] = importer.view(node)
        # Whoever reads the copy reads the original.
        importer.reads[node.outputs[0]] += importer.reads[name] - 1


def _constant(importer: Importer, node: Node) -> None:
    value = node.attributes.get("value")
    if value is None:
        value = next(iter(node.attributes.values()), None)
    if value is None or isinstance(value, str):
        raise UnsupportedError(f"{node.label}: no array")
    importer.constants[node.outputs[0]] = np.asarray(value)


CONVERT: Mapping[str, Callable[[Importer, Node], None]] = MappingProxyType(
    {
        "Add": _add,
        "AveragePool": _mean,
        "BatchNormalization": _batch_norm,
        "Constant": _constant,
        "Conv": _conv,
        "Dropout": _alias,
        "Flatten": _flatten,
        "Gemm": _gemm,
        "GlobalAveragePool": _mean,
        "Identity": _alias,
        "MatMul": _gemm,
        "MaxPool": _max_pool,
        "Pad": _pad,
        "Relu": _relu,
        "Reshape": _flatten,
        "Slice": _slice,
        "Squeeze": _flatten,
    }
)
"""By ONNX's name."""
