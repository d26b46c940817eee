"""The network in plain numpy, f32: what quantised programs are compared with, and what their scales are taken from.

It knows nothing of chips.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from takt.errors import ModelError
from takt.lpu.vision.graph import Conv, Floats, ImageGraph, MaxPool, sources

_WARM_SEED = 7
_N_WARM = 2


def check_images(graph: ImageGraph, images: NDArray[np.floating]) -> Floats:
    """Images as f32 [n, channels, height, width]. ModelError for another shape or values that are no numbers."""
    batch = np.asarray(images, np.float32)
    if batch.ndim == 3:
        batch = batch[np.newaxis]
    if batch.shape[1:] != graph.input_shape:
        raise ModelError(
            f"images of shape {batch.shape[1:]}: {graph.name} takes {graph.input_shape}"
        )
    if not np.isfinite(batch).all():
        raise ModelError("an image holds values that are no finite numbers")
    return batch


def run_floats(graph: ImageGraph, image: Floats) -> Mapping[str, Floats]:
    """Every tensor of the network, by name, for one image [channels, height, width]."""
    found: dict[str, Floats] = {graph.input: image.astype(np.float32)}
    for layer in graph.layers:
        x = found[layer.input]
        if isinstance(layer, MaxPool):
            found[layer.name] = _windows(x, layer, -np.inf).max(axis=(3, 4))
            continue
        y = _conv(x, layer) + layer.bias[:, None, None]
        if layer.residual:
            y = y + found[layer.residual]
        found[layer.name] = np.maximum(y, np.float32(0)) if layer.relu else y
    return found


def float_logits(graph: ImageGraph, images: NDArray[np.floating]) -> Floats:
    """f32 logits [n, classes] of images [n, channels, height, width]."""
    batch = check_images(graph, images)
    return np.stack([run_floats(graph, image)[graph.output].reshape(-1) for image in batch])


def peaks(graph: ImageGraph, images: NDArray[np.floating]) -> dict[str, float]:
    """The largest magnitude of every tensor over the images."""
    largest: dict[str, float] = {}
    for image in check_images(graph, images):
        for name, values in run_floats(graph, image).items():
            largest[name] = max(largest.get(name, 0.0), float(np.abs(values).max()))
    return largest


def plain_images(graph: ImageGraph) -> Floats:
    """Two made-up images for calibration where there are no real ones: smooth random fields of mean 0, deviation 1."""
    rng = np.random.default_rng(_WARM_SEED)
    channels, height, width = graph.input_shape
    noise = rng.standard_normal((_N_WARM, channels, height, width))
    for axis, size in ((2, height), (3, width)):
        frequency = np.fft.rfftfreq(size)
        shape = [1, 1, 1, 1]
        shape[axis] = len(frequency)
        damped = np.fft.rfft(noise, axis=axis) / (1 + 16 * frequency.reshape(shape))
        noise = np.fft.irfft(damped, size, axis=axis)
    return np.asarray(noise / noise.std(), np.float32)


def _windows(x: Floats, layer: Conv | MaxPool, fill: float) -> Floats:
    """[channels, rows, columns, kernel height, kernel width], a view on the padded image."""
    top, left, bottom, right = layer.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = sliding_window_view(padded, layer.kernel, axis=(1, 2))
    return np.asarray(view[:, :: layer.stride[0], :: layer.stride[1]])


def _conv(x: Floats, layer: Conv) -> Floats:
    view = _windows(x, layer, 0.0)
    channels, rows, columns = view.shape[:3]
    if layer.uniform:
        flat = view.sum(axis=(3, 4), dtype=np.float32).reshape(channels, -1)
        weight = layer.weight[:, :, 0, 0]
    else:
        flat = view.transpose(0, 3, 4, 1, 2).reshape(-1, rows * columns)
        weight = layer.weight.reshape(len(layer.weight), -1)
    return np.asarray(weight @ flat, np.float32).reshape(-1, rows, columns)


def uses(graph: ImageGraph) -> dict[str, int]:
    """How many layers read each tensor."""
    count = {graph.input: 0} | {layer.name: 0 for layer in graph.layers}
    for layer in graph.layers:
        for name in sources(layer):
            count[name] += 1
    return count
