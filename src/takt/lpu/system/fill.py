"""The bytes of a chip's memory: its share of the weights, laid where its slots are.

Everything that does not move (tables, constant tiles) is written once; each slot's matrices, scales and biases are
written where the slot lies. This is the only place where weights are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from takt.lpu.compiler.image import lanes_of, store, store_tile
from takt.lpu.compiler.ir import Buffer, Tile
from takt.lpu.compiler.lanes import Lanes
from takt.lpu.compiler.matrices import MARGIN, Matrix, activation_bounds
from takt.lpu.isa.table import Type
from takt.lpu.machine import Memory
from takt.lpu.system.experts import ADDRESS_BASE
from takt.lpu.system.latent_lanes import sizes
from takt.lpu.system.place import (
    SplitLayout,
    attention_matrices,
    expert_matrices,
    feed_forward_matrices,
    head_matrix,
    n_experts,
    router_lanes,
    router_matrix,
    rows_of,
    shared_matrices,
)
from takt.lpu.system.programs import Cut, Kind
from takt.lpu.system.stages import Slot
from takt.models import Model


def fill_chip(memory: Memory, model: Model, cut: Cut, slots: Sequence[Slot], place: int) -> None:
    """Write all that the chip at a place of a group holds."""
    for out in cut.layouts(Kind(), place):
        out.image.write(memory, model)
    for slot in slots:
        kept = model.keeping()
        for out in cut.layouts(slot.kind, place):
            writer = _Writer(memory, kept, out, slot)
            if slot.kind.embed[1]:
                writer.tables()
            if slot.kind.attention:
                writer.matrices("attention", attention_matrices(out, slot.layer))
                writer.head_norms()
                writer.sinks()
            if slot.kind.experts:
                writer.experts()
            elif slot.kind.ffn[1]:
                writer.matrices("ffn", feed_forward_matrices(out, slot.layer))
            if slot.kind.head[1]:
                writer.matrices("head", [head_matrix(out)])


_NEVER = -30000.0
"""Score of a lane that no expert lies on."""


class _Writer:
    """Writes what one rank has in one slot."""

    def __init__(self, memory: Memory, model: Model, out: SplitLayout, slot: Slot) -> None:
        self._memory, self._model, self._out, self._slot = memory, model, out, slot
        self._scales: dict[str, np.ndarray] = {}

    def matrices(self, region: str, matrices: Sequence[Matrix]) -> None:
        """Tiles, scales, factors and biases of the matrices of a region."""
        out, model = self._out, self._model
        bounds = self._bounds(region, matrices) if out.weights is Type.I8 else {}
        for matrix in matrices:
            folded = matrix.folded(model)
            own = out.shard.own if matrix.out is out.shard.out else matrix.out
            if out.weights is Type.I8:
                scales = matrix.scales(folded)
                folded = np.rint(folded / scales[:, None])
                step = scales * np.float32(bounds[matrix.key] / matrix.levels)
                self._rows(region, out.scale[matrix.key], lanes_of(own, step))
                if matrix.key in out.factor:
                    factor = np.full((1, out.lanes), matrix.levels / bounds[matrix.key], np.float32)
                    self._rows(region, [out.factor[matrix.key]], factor)
            self._tiles(region, matrix, folded)
            if matrix.bias:
                self._bias(region, matrix, own)

    def experts(self) -> None:
        """The router's constants and matrix, and all experts of the part with one scale for each output."""
        out, layer = self._out, self._slot.layer
        router = router_matrix(out, layer)
        self._tiles("ffn", router, router.folded(self._model))
        self._choice()
        if out.whole.experts is not None and out.whole.experts.biases:
            self._expert_biases()
        mine = rows_of(n_experts(out.whole), out.parts)
        shared = shared_matrices(out, layer)
        sets = [expert_matrices(out, layer, e) for e in mine] + ([shared] if shared else [])
        if out.weights is Type.I8:
            self._expert_scales(sets)
        for i, matrices in enumerate(sets):
            step = i * out.stride if i < len(mine) else 0
            for matrix in matrices:
                folded = matrix.folded(self._model)
                if out.weights is Type.I8:
                    folded = np.rint(folded / self._scales[_steps_of(matrix)][:, None])
                self._tiles("ffn", matrix, folded, step)

    def _expert_scales(self, sets: Sequence[Sequence[Matrix]]) -> None:
        """One scale for each output of a matrix and one bound of hidden values, for all experts of the part.

        What is summed over experts must be in the same steps, so the shared experts' down matrix has them, too.
        """
        out, model = self._out, self._model
        root = MARGIN * float(np.sqrt(model.shape.dim))
        bound = 0.0
        for matrices in sets:
            reach = []
            for matrix in matrices:
                folded = matrix.folded(model)
                name = _steps_of(matrix)
                scales = matrix.scales(folded)
                self._scales[name] = np.maximum(self._scales.get(name, scales), scales)
                if name != "0.down":
                    reach.append(self._reach(matrix, folded, root))
            bound = max(bound, float((reach[0] * reach[1]).max()))
        experts = model.shape.experts
        assert experts is not None
        bound *= MARGIN * max(1.0, experts.routed_scale)
        for matrix in (*sets[0], *sets[-1]):
            name = _steps_of(matrix)
            own = out.shard.own if name == "0.down" else matrix.out
            top = bound if name == "0.down" else root
            step = self._scales[name] * np.float32(top / matrix.levels)
            self._rows("ffn", out.scale[name], lanes_of(own, step))
        levels = sets[0][-1].levels
        factor = np.full((1, out.lanes), levels / bound, np.float32)
        self._rows("ffn", [out.factor["0.down"]], factor)

    def _reach(self, matrix: Matrix, folded: np.ndarray, root: float) -> np.ndarray:
        """Largest magnitude of each output of an expert's gate or up matrix, bias and clamp included."""
        experts = self._model.shape.experts
        reach = np.linalg.norm(folded.astype(np.float64), axis=1) * root
        if experts is not None and experts.biases and matrix.index is not None:
            reach = reach + np.abs(self._model.tensor(matrix.tensor + ".bias")[matrix.index])
        if experts is not None and experts.swiglu_limit is not None:
            reach = np.minimum(reach, experts.swiglu_limit) + (matrix.key.endswith(".up"))
        return np.asarray(reach)

    def _choice(self) -> None:
        """Constant rows of the router: biases, and where each expert of the part lies."""
        out, model = self._out, self._model
        lanes = router_lanes(out)
        count = n_experts(out.whole)
        mine = rows_of(count, out.parts)
        name = f"layers.{self._slot.layer}.ffn.router"
        here = (np.arange(count) >= mine.start) & (np.arange(count) < mine.stop)
        address = np.where(here, (np.arange(count) - mine.start) * out.stride, 0)
        rows = {
            "bias": model.tensor(f"{name}.bias") if model.has(f"{name}.bias") else np.zeros(count),
            "select": model.tensor(f"{name}.selection.bias")
            if model.has(f"{name}.selection.bias")
            else np.zeros(count),
            "high": address // ADDRESS_BASE,
            "low": address % ADDRESS_BASE,
            "within": here,
            "number": np.where(here, np.arange(count) - mine.start, 0),
        }
        for key, values in rows.items():
            content = lanes_of(lanes, values.astype(np.float32))
            if key in ("bias", "select"):
                content[lanes < 0] = _NEVER
            self._rows("ffn", out.choice[key], content)

    def _expert_biases(self) -> None:
        """Rows of the bias tables."""
        out = self._out
        mine = rows_of(n_experts(out.whole), out.parts)
        for part, lanes in (("gate", out.ffn), ("up", out.ffn), ("down", out.shard.own)):
            name = f"layers.{self._slot.layer}.ffn.experts.{part}.bias"
            values = self._model.tensor(name)[mine.start : mine.stop]
            for dims, buffer in zip(lanes, out.choice[f"{part}.bias"], strict=True):
                rows = np.zeros((len(values), len(dims)), np.float32)
                rows[:, dims >= 0] = values[:, dims[dims >= 0]]
                store(self._memory, self.moved("ffn", buffer), rows)

    def sinks(self) -> None:
        """Each head's sink in every lane of its row."""
        out = self._out
        if not out.whole.attention_sinks:
            return
        values = self._model.tensor(f"layers.{self._slot.layer}.attn.sinks.weight")
        hd = out.whole.head_dim
        for h, buffer in enumerate(out.bias["0.sinks"]):
            chunk, slot = divmod(h, out.heads.per_vector)
            dim = int(out.heads.q[chunk, slot * hd])
            row = np.full((1, out.lanes), values[dim // hd] if dim >= 0 else 0.0, np.float32)
            self._rows("attention", [buffer], row)

    def _tiles(self, region: str, matrix: Matrix, folded: np.ndarray, step: int = 0) -> None:
        """Every tile of a matrix, `step` words above where its layout has it."""
        out = self._out
        for (key, o, i), tile in out.image.tiles.items():
            if key == matrix.key:
                moved = self._moved_tile(region, tile)
                moved = replace(moved, base=moved.base + step)
                store_tile(self._memory, moved, matrix.block(folded, o, i, out.lanes))

    def _bounds(self, region: str, matrices: Sequence[Matrix]) -> dict[str, float]:
        """Largest activation of each matrix of a region, by its key."""
        if region == "attention" and self._out.latent is not None:
            return self._latent_bounds(matrices)
        layer = str(self._slot.layer)
        named = {m.key.replace("0.", layer + ".", 1): m for m in matrices}
        found = activation_bounds(self._model, named)
        return {m.key: found[name] for name, m in named.items()}

    def _latent_bounds(self, matrices: Sequence[Matrix]) -> dict[str, float]:
        """Largest activation of each matrix of a latent attention: normalised rows are at most √width long."""
        shape = self._model.shape
        parts = sizes(shape)
        root = MARGIN * float(np.sqrt(shape.dim))
        waist = root if parts.q_rank is None else MARGIN * float(np.sqrt(parts.q_rank))
        latent = MARGIN * float(np.sqrt(parts.kv_rank))
        named = {m.key: m for m in matrices}

        def reach(key: str, top: float) -> float:
            rows = np.linalg.norm(named[key].folded(self._model).astype(np.float64), axis=1)
            return MARGIN * float(rows.max()) * top

        out = {}
        for key in named:
            if key in ("0.q_nope", "0.q_rope"):
                out[key] = waist
            elif key.startswith("0.absorb"):
                out[key] = out.get("0.absorb0") or reach("0.q_nope", waist)
            elif key.startswith("0.v_up"):
                out[key] = latent
            else:
                out[key] = reach("0.v_up0", latent) if key == "0.o" else root
        return out

    def _bias(self, region: str, matrix: Matrix, own: Lanes) -> None:
        out = self._out
        bias = matrix.folded_bias(self._model)
        if bias is None:
            return
        rows = lanes_of(own, bias)
        self._rows(region, out.bias[matrix.key], rows)
        if matrix.key + ".swapped" in out.bias:
            swapped = rows.reshape(-1, out.lanes // 2, 2)[..., ::-1].reshape(-1, out.lanes)
            self._rows(region, out.bias[matrix.key + ".swapped"], swapped)

    def head_norms(self) -> None:
        """Gains of per-head norms, and those of the rotary partners."""
        out, shape = self._out, self._out.whole
        if not shape.qk_norm:
            return
        layer = self._slot.layer
        for part, lanes, factor in (
            ("q", out.heads.q, shape.attention_scale),
            ("k", out.heads.k, 1.0),
        ):
            gain = self._model.tensor(f"layers.{layer}.attn.{part}_norm.weight") * np.float32(
                factor
            )
            # A head's lanes are in the same order in every slot, so lanes that hold zeros may take any gain.
            order = np.where(lanes[:1] >= 0, lanes[:1] % shape.head_dim, 0)
            row = np.where(lanes[:1] >= 0, gain[order], 0).astype(np.float32)
            self._rows("attention", out.bias[f"0.{part}.gain"], row)
            swapped = row.reshape(-1, 2)[:, ::-1].reshape(1, -1)
            self._rows("attention", out.bias[f"0.{part}.gain_swapped"], swapped)

    def tables(self) -> None:
        """Rows of the token table, and of the position table with the first of them."""
        out, model, parts = self._out, self._model, self._slot.kind.embed
        rows = rows_of(model.shape.vocab_size, parts)
        table = model.tensor("embed.weight")[rows.start : rows.stop]
        if out.weights is Type.I8:
            table, _ = quantised_rows(table)
        self._table(out.embed, table)
        if out.position:
            self._table(out.position, model.tensor("position.weight")[: out.context])

    def _table(self, shards: list[list[Buffer]], table: np.ndarray) -> None:
        for chunk, dims in zip(shards, self._out.shard.own, strict=True):
            start = 0
            for buffer in chunk:
                rows = table[start : start + buffer.rows]
                i8 = buffer.type is Type.I8
                content = np.zeros((len(rows), len(dims)), np.int8 if i8 else np.float16)
                values = rows[:, dims[dims >= 0]]
                content[:, dims >= 0] = values if i8 else values.clip(-65504, 65504)
                store(self._memory, buffer, content)
                start += buffer.rows

    # ----------------------------------------------------------------------------------------------------- places
    def _moved_tile(self, region: str, tile: Tile) -> Tile:
        delta = self._slot.bases[region][0] - self._out.regions[region].first
        return replace(tile, base=tile.base + delta)

    def _rows(self, region: str, buffers: Sequence[Buffer], rows: np.ndarray) -> None:
        for i, buffer in enumerate(buffers):
            store(self._memory, self.moved(region, buffer), rows[i : i + 1])

    def moved(self, region: str, buffer: Buffer) -> Buffer:
        """A buffer of the work slices where the slot has it."""
        return moved_row(self._out, self._slot, region, buffer)


def _steps_of(matrix: Matrix) -> str:
    """The key under which the scales of an expert's matrix are found."""
    return "0.down" if matrix.key.endswith(".down") else matrix.key


def moved_row(out: SplitLayout, slot: Slot, region: str, buffer: Buffer) -> Buffer:
    """A buffer of a region's part of the work slices, where the slot has it."""
    delta = slot.bases[region][1] - out.regions[region].work_first
    return replace(buffer, bases=tuple(base + delta for base in buffer.bases))


def quantised_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """i8 rows and what a step of each is worth."""
    scale = (np.abs(table).max(axis=1) / 127).astype(np.float32)
    return np.rint(table / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8), scale
