"""Kernel times of one chip: the face of this wing.

Each method counts the work of a call (`work`, `links`), takes the figures that stand for its family and
type on the chip (`sources`), and answers with their time, never below the chip's own roofline. Knows nothing
of models, layers or engines' own overheads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from takt.chips import Accelerator
from takt.errors import UsageError, did_you_mean

from .families import LINKED, gemm_type
from .links import Collective, collective_work, deal_work, send_work
from .peaks import Peaks, is_native
from .power import board_power_w, power_fit_of
from .sources import Sources
from .work import (
    Floats,
    Work,
    bytes_of,
    decode_work,
    elementwise_work,
    experts_work,
    floats,
    gemm_work,
    latent_decode_work,
    latent_prompt_work,
    prompt_work,
)

__all__ = ["Kernels", "kernels_of"]

_KV_TYPES = ("bf16", "fp8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kernels:
    """Times of kernels on one chip under one engine; seconds, float64, broadcast over the arguments.

    Methods raise UsageError for an unknown number type and UnsupportedError for a transfer from a chip
    without known links.
    """

    chip: Accelerator
    engine: str
    sources: Sources

    @property
    def launch_s(self) -> float:
        """Time of a kernel that does nothing."""
        fit = self.sources.fit("elementwise", "bf16").efficiency
        return fit.start_s if fit else 0.0

    def gemm(
        self,
        m: ArrayLike,
        n: ArrayLike,
        k: ArrayLike,
        weights: str = "bf16",
        compute: str = "bf16",
    ) -> Floats:
        """(m, k) inputs × (k, n) stored weights, multiplied as `compute` ("" is as stored).

        A type that the chip does not multiply is widened to 16 bits, as engines do. `weights` "fp8_block"
        are fp8 with a scale for each block of 128 × 128 (DeepSeek's form), "fp8" with one for a matrix or row.
        """
        stored, multiplied = self._multiplied(weights, compute or weights)
        work = gemm_work(m, n, k, stored, multiplied)
        return self._time_s("gemm", gemm_type(stored, multiplied), work)

    def attention_prompt(
        self,
        batch: ArrayLike,
        new_tokens: ArrayLike,
        context: ArrayLike,
        n_heads: ArrayLike,
        n_kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv: str = "bf16",
        window: ArrayLike | None = None,
    ) -> Floats:
        """Causal attention of `new_tokens` a user over `context` cached positions and themselves.

        As long as a fresh prompt with as many pairs of query and key, and no shorter than one block of queries
        takes to walk past all cached positions.
        """
        kv = _cache_type(kv)
        work = prompt_work(batch, new_tokens, context, n_heads, n_kv_heads, head_dim, kv, window)
        (walked,) = floats(context)
        if window is not None:
            walked = np.minimum(walked, floats(window)[0])
        walk_s = walked * self.sources.walk_s_per_position()
        return np.maximum(self._time_s("attention_prompt", kv, work), walk_s)

    def attention_decode(
        self,
        batch: ArrayLike,
        context: ArrayLike,
        n_heads: ArrayLike,
        n_kv_heads: ArrayLike,
        head_dim: ArrayLike,
        kv: str = "bf16",
        window: ArrayLike | None = None,
        *,
        beside: bool = False,
    ) -> Floats:
        """Attention of one new token a user over `context` cached positions.

        `beside`: in a call that reads prompts too, by a kernel that serves both alike. The query of each user is a
        block of queries there, once for every head: it multiplies as much as a full one does, for keys in whole
        blocks, and heads that share keys gain nothing from it. Never less than apart; no more where such calls of
        the engine were not measured.
        """
        kv = _cache_type(kv)
        work = decode_work(batch, context, n_heads, n_kv_heads, head_dim, kv, window)
        apart_s = self._time_s("attention_decode", kv, work)
        block = self.sources.query_block() if beside else None
        if block is None:
            return apart_s
        users, seen, heads, width = floats(batch, context, n_heads, head_dim)
        if window is not None:
            seen = np.minimum(seen, floats(window)[0])
        # Contexts that differ end anywhere in their last block: half of one is empty on average.
        walked = np.maximum(seen + block.keys / 2, block.keys)
        ops = 4 * users * heads * width * block.rows * walked
        return np.maximum(apart_s, ops / self.chip.ops_per_s("bf16"))

    def latent_prompt(
        self,
        batch: ArrayLike,
        new_tokens: ArrayLike,
        context: ArrayLike,
        n_heads: ArrayLike,
        kv: str = "bf16",
    ) -> Floats:
        """Latent attention (MLA, DeepSeek's widths) of a prompt."""
        kv = _cache_type(kv)
        work = latent_prompt_work(batch, new_tokens, context, n_heads, kv)
        return self._time_s("latent_prompt", kv, work)

    def latent_decode(
        self, batch: ArrayLike, context: ArrayLike, n_heads: ArrayLike, kv: str = "bf16"
    ) -> Floats:
        """Latent attention of one new token a user."""
        kv = _cache_type(kv)
        return self._time_s("latent_decode", kv, latent_decode_work(batch, context, n_heads, kv))

    def experts(
        self,
        tokens: ArrayLike,
        dim: ArrayLike,
        hidden_dim: ArrayLike,
        n_experts: ArrayLike,
        top_k: ArrayLike,
        n_matrices: int = 3,
        tp: ArrayLike = 1,
        ep: ArrayLike = 1,
        weights: str = "bf16",
        skew: str | None = None,
    ) -> Floats:
        """The share of a layer's routed experts on the busiest chip.

        `tokens` are those of the whole group of `tp` × `ep` chips; `skew` None is routing as uneven as real
        routing (a power law), "balanced" is even. fp8 weights have block scales.
        """
        if skew not in (None, "balanced"):
            hint = did_you_mean(skew, ["balanced"]) or "known are None and 'balanced'"
            raise UsageError(f"no routing '{skew}'", hint=hint)
        even = skew == "balanced"
        kind = {"fp8_block": "fp8", "fp16": "bf16"}.get(weights, weights)
        work = experts_work(
            tokens, dim, hidden_dim, n_experts, top_k, n_matrices, tp, ep, kind, even
        )
        return self._time_s("experts_even" if even else "experts", kind, work)

    def all_reduce(self, n_bytes: ArrayLike, n_chips: ArrayLike) -> Floats:
        """Sum of `n_bytes` over `n_chips`, on each of them."""
        return self._collective("all_reduce", n_bytes, n_chips)

    def all_gather(self, n_bytes: ArrayLike, n_chips: ArrayLike) -> Floats:
        """`n_bytes` in all, of which each chip had its part, on each of them."""
        return self._collective("all_gather", n_bytes, n_chips)

    def reduce_scatter(self, n_bytes: ArrayLike, n_chips: ArrayLike) -> Floats:
        """Sum of `n_bytes` over `n_chips`, of which each keeps its part."""
        return self._collective("reduce_scatter", n_bytes, n_chips)

    def all_to_all(self, n_bytes: ArrayLike, n_chips: ArrayLike) -> Floats:
        """Each chip hands out `n_bytes` in equal parts, its own included."""
        return self._collective("all_to_all", n_bytes, n_chips)

    def send(self, n_bytes: ArrayLike) -> Floats:
        """`n_bytes` to one neighbour."""
        return self._time_s("send", "bf16", send_work(n_bytes))

    def dispatch_combine(
        self,
        tokens: ArrayLike,
        dim: ArrayLike,
        top_k: ArrayLike,
        n_experts: ArrayLike,
        ep: ArrayLike,
    ) -> Floats:
        """A chip's own `tokens` to their experts on `ep` chips (a byte a number) and back (two bytes)."""
        (experts,) = floats(n_experts)
        picked = np.minimum(floats(top_k)[0], experts)
        work = deal_work(tokens, dim, picked, ep)
        return np.where(work.at[-1] > 1, self._time_s("dispatch_combine", "bf16", work), 0.0)

    def elementwise(self, n_bytes: ArrayLike) -> Floats:
        """A kernel that reads and writes `n_bytes` of memory in all and computes little."""
        return self._time_s("elementwise", "bf16", elementwise_work(n_bytes))

    def power_w(self, memory_fraction: ArrayLike, compute_fraction: ArrayLike) -> Floats:
        """Board power of one chip with these fractions (0..1) of its peak bandwidth and peak rate in use.

        Raises UnsupportedError where the chip's power limit is not known.
        """
        return board_power_w(self.chip, *floats(memory_fraction, compute_fraction))

    def basis(self, family: str, type_name: str = "bf16") -> str:
        """What the times of that family and type rest on. Raises UsageError for an unknown family."""
        if family == "power":
            return power_fit_of(self.chip)[1]
        return self.sources.of(family, self._named(family, type_name)).basis

    def error(self, family: str, type_name: str = "bf16") -> float:
        """Median relative error to expect of that family and type, cross-validated."""
        if family == "power":
            return power_fit_of(self.chip)[0].error
        return self.sources.of(family, self._named(family, type_name)).error

    def _named(self, family: str, type_name: str) -> str:
        """The table's type for a type of weights or of a cache."""
        bytes_of(type_name)
        if family in LINKED or family == "elementwise":
            return "bf16"
        if family == "gemm":
            return gemm_type(*self._multiplied(type_name, type_name))
        if family in ("experts", "experts_even"):
            return {"fp8_block": "fp8", "fp16": "bf16"}.get(type_name, type_name)
        return _cache_type(type_name)

    def _multiplied(self, weights: str, compute: str) -> tuple[str, str]:
        """(stored, multiplied) types as this chip can: what it has no units for is widened."""
        bytes_of(weights), bytes_of(compute)
        if compute == "int4" or not is_native(self.chip, compute):
            return weights, "bf16"
        return weights, "fp8" if compute == "fp8_block" else compute

    def _time_s(self, family: str, type_name: str, work: Work) -> Floats:
        return self.sources.of(family, type_name).time_s(work)

    def _collective(self, name: Collective, n_bytes: ArrayLike, n_chips: ArrayLike) -> Floats:
        """Inside a domain of full-rate links by its table; beyond, also between domains by the slower links.

        Domains exchange what is left after the first part: each chip the share that its domain reduced or
        has still to gather.
        """
        size, chips = floats(n_bytes, n_chips)
        near = float(max(self.chip.scale_up.chips, 1))
        slow = self.chip.scale_out.bytes_per_s
        inside = chips if slow is None else np.minimum(chips, near)
        total = self._time_s(name, "bf16", collective_work(size, inside))
        total = np.where(inside > 1, total, 0.0)
        if slow is None or not np.any(chips > near):
            return total
        work = collective_work(size / inside, chips / inside)
        peaks = Peaks(bytes_per_s=slow, ops_per_s=1.0)
        outside = self.sources.fit(name, "bf16").fitted_s(work, peaks)
        return total + np.where(chips > near, outside, 0.0)


def _cache_type(name: str) -> str:
    """The measured type of a cache: 16 bits or 8. Raises UsageError for an unknown type."""
    return "bf16" if bytes_of(name) >= 2 else "fp8"


def kernels_of(chip: Accelerator, engine: str = "generic") -> Kernels:
    """Times of kernels on `chip` as `engine` runs them; engines without tables take the generic ones."""
    return Kernels(chip=chip, engine=engine, sources=Sources(chip=chip, engine=engine))
