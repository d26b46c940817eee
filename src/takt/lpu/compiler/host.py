"""The host's side of a step: the few descriptor vectors that say which token at which position.

Everything else of a step happens on the chip. Addresses are u16 values in every lane of two byte streams.
"""

from __future__ import annotations

import numpy as np

from takt.lpu.compiler.image import store
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.lanes import rope_rows
from takt.lpu.compiler.layout import Layout
from takt.lpu.machine import Memory
from takt.models import rope_frequencies


def write_step(
    layout: Layout, memory: Memory, token: int, position: int, part: tuple[int, int] = (0, 1)
) -> None:
    """Write the descriptors of one decode step: `token` at `position` (both counted from 0).

    `part` (i, n): of every n blocks of cached positions this chip's caches hold the i-th.
    """
    lanes = layout.image.g.lanes
    inputs = layout.inputs
    block, lane = divmod(position, lanes)
    mine = block % part[1] == part[0]
    if layout.embed:
        _lookup(layout, memory, np.array([token]))
    if layout.position:
        _address(memory, inputs["position"], np.array([position]))
    if "rope_cos" in inputs:
        cos, sin = rope_rows(
            layout.shape, lanes, np.array([position]), rope_frequencies(layout.shape)
        )
        store(memory, inputs["rope_cos"], cos)
        store(memory, inputs["rope_sin"], sin)
    here = np.zeros((1, lanes), np.uint8)
    here[0, lane] = mine
    store(memory, inputs["lane"], here)
    turn = (np.arange(lanes) - lane) % lanes
    store(memory, inputs["rotate"], turn.astype("<u2")[None])
    spare = layout.n_blocks * lanes // 16
    rows = np.full(16, spare)
    if mine:
        rows[position % 16] = (block // part[1] * lanes + lane) // 16
    _address(memory, inputs["cache_row"], rows)
    blocks = np.arange(layout.n_blocks)[:, None] * part[1] + part[0]
    where = blocks * lanes + np.arange(lanes)
    for window in [int(name.removeprefix("mask")) for name in inputs if name.startswith("mask")]:
        seen = (where < position) & ((where > position - window) if window else True)
        store(memory, inputs[f"mask{window}"], seen.astype(np.uint8))


def _address(memory: Memory, buffer: Buffer, words: np.ndarray) -> None:
    """Write word r of `words` to all lanes of row r."""
    for byte, ((slice_,), base) in enumerate(zip(buffer.slices, buffer.bases, strict=True)):
        memory.data[slice_, base : base + len(words)] = (words >> 8 * byte & 255)[:, None]


def write_chunk(layout: Layout, memory: Memory, tokens: np.ndarray) -> None:
    """Write the tokens of a prompt chunk or a sequence; missing ones count as token 0 (nothing sees them)."""
    padded = np.zeros(layout.chunk, np.int64)
    padded[: len(tokens)] = tokens
    _lookup(layout, memory, padded)
    if layout.shape.family == "encoder":
        n = len(tokens)
        where = np.arange(layout.lanes) if layout.packs is None else layout.packs.position
        seen = ((where >= 0) & (where < n)).astype(np.uint8)[None]
        for name in ("seen",) if layout.packs is None else ("seen0", "seen1"):
            store(memory, layout.inputs[name], seen)
        share = np.zeros((layout.chunk, layout.lanes), np.float32)
        share[:n] = 1.0 / n
        store(memory, layout.inputs["share"], share)


def _lookup(layout: Layout, memory: Memory, rows: np.ndarray) -> None:
    """Addresses of embedding rows in the shard that has each; the other shards read their word of zeros."""
    if layout.embed_scale is not None:
        here = (rows >= 0) & (rows < len(layout.embed_scale))
        steps = layout.embed_scale[np.where(here, rows, 0)] * here
        scale = np.repeat(steps[:, None].astype(np.float32), layout.lanes, axis=1)
        store(memory, layout.inputs["token_scale"], scale)
    first = 0
    for i, shard in enumerate(layout.embed[0]):
        inside = (first <= rows) & (rows < first + shard.rows)
        _address(memory, layout.inputs[f"token{i}"], np.where(inside, rows - first, shard.rows))
        first += shard.rows
