"""The shapes of ResNet-50 with random weights: time depends on shapes only.

Version 1.5 has the stride of a stage in its 3×3 convolutions, version 1 (He et al., 2015) in the 1×1 before them.
Weights are drawn so that activations keep their size (He initialisation), batch normalisation counts as folded in.
"""

from __future__ import annotations

import numpy as np

from takt.errors import UsageError
from takt.lpu.vision.graph import Conv, ImageGraph, Layer, MaxPool

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Narrow channels, blocks, stride of the first block."""
_WIDEN = 4
_BRANCH_GAIN = 0.5
"""Of a block's last convolution: the sum with the shortcut then grows slowly."""


class _Draft:
    """Layers so far, and the random stream for their weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 50])
        self.layers: list[Layer] = []
        self.channels: dict[str, int] = {"image": 3}

    def conv(
        self,
        name: str,
        source: str,
        n: int,
        k: int,
        stride: int = 1,
        *,
        relu: bool = True,
        residual: str = "",
    ) -> str:
        c = self.channels[source]
        gain = 1.0 if relu and not residual else _BRANCH_GAIN
        scale = gain * (2.0 / (c * k * k)) ** 0.5
        weight = (self.rng.standard_normal((n, c, k, k)) * scale).astype(np.float32)
        bias = (self.rng.standard_normal(n) * 0.1).astype(np.float32)
        pad = k // 2
        self.layers.append(
            Conv(
                name=name,
                input=source,
                weight=weight,
                bias=bias,
                kernel=(k, k),
                stride=(stride, stride),
                pads=(pad, pad, pad, pad),
                relu=relu,
                residual=residual,
            )
        )
        self.channels[name] = n
        return name

    def block(self, name: str, source: str, narrow: int, strides: tuple[int, int]) -> str:
        first, middle = strides
        wide = _WIDEN * narrow
        inner = self.conv(f"{name}.conv1", source, narrow, 1, first)
        shortcut = source
        if self.channels[source] != wide or first * middle > 1:
            shortcut = self.conv(f"{name}.down", source, wide, 1, first * middle, relu=False)
        inner = self.conv(f"{name}.conv2", inner, narrow, 3, middle)
        return self.conv(f"{name}.conv3", inner, wide, 1, residual=shortcut)


def resnet50_graph(seed: int = 0, *, version: str = "1.5", classes: int = 1000) -> ImageGraph:
    """ResNet-50 for images of 3 × 224 × 224. UsageError for a version other than "1" and "1.5"."""
    if version not in ("1", "1.5"):
        raise UsageError(f"ResNet-50 version {version!r}: expected '1' or '1.5'")
    draft = _Draft(seed)
    last = draft.conv("conv1", "image", 64, 7, 2)
    draft.layers.append(
        MaxPool(name="pool", input=last, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    )
    draft.channels["pool"], last = 64, "pool"
    for i, (narrow, blocks, stride) in enumerate(_STAGES, start=1):
        for j in range(blocks):
            here = stride if j == 0 else 1
            strides = (here, 1) if version == "1" else (1, here)
            last = draft.block(f"layer{i}.{j}", last, narrow, strides)
    c = draft.channels[last]
    weight = draft.rng.standard_normal((classes, c, 1, 1)) * (1.0 / c) ** 0.5 / 49
    draft.layers.append(
        Conv(
            name="logits",
            input=last,
            weight=weight.astype(np.float32),
            bias=np.zeros(classes, np.float32),
            kernel=(7, 7),
            uniform=True,
        )
    )
    return ImageGraph(
        name=f"resnet50-v{version}",
        input="image",
        input_shape=(3, 224, 224),
        layers=tuple(draft.layers),
    )
