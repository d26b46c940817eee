"""From our tensor names to what a Hugging Face checkpoint stores, cut and stacked where it stores otherwise.

Most tensors lie under a name of the family's table. GPT-2 keeps q, k, v side by side and transposed; experts lie one
by one, or gate and up interleaved; latent attention keeps two projections in one. Nothing is read before it is asked
for; what is missing or misshapen is found by `Model`, which knows what the shape calls for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UnsupportedError

from .hf_names import TensorNames
from .model import Tensor, TensorRef
from .parts import Latent
from .safetensors_file import READABLE, StoredTensor
from .shape import ModelShape, tensor_shapes

# The original TensorFlow names, which early BERT exports still carry.
_OLD_NAMES = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
_FUSED = ("attn.q", "attn.k", "attn.v")
_EXPERTS = "ffn.experts."
# Parts of latent attention that lie together in one stored matrix.
_CUT = {
    "attn.kv_down": "attn.kv_down_and_rope",
    "attn.k_rope": "attn.kv_down_and_rope",
    "attn.k_up": "attn.kv_up",
    "attn.v_up": "attn.kv_up",
}


def tensor_refs(
    shape: ModelShape, names: TensorNames, stored: Mapping[str, StoredTensor]
) -> dict[str, TensorRef]:
    """A reference for every tensor of the shape that the checkpoint has. UnsupportedError for number formats."""
    embed = f"{names.top['embed']}.weight"
    prefix = next((p for p in names.prefixes if p + embed in stored), names.prefixes[0])
    checkpoint = _Checkpoint(shape=shape, names=names, stored=stored, prefix=prefix)
    refs = {name: checkpoint.ref(name) for name in tensor_shapes(shape)}
    return {name: ref for name, ref in refs.items() if ref is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint:
    """The stored tensors, and where this family keeps which."""

    shape: ModelShape
    names: TensorNames
    stored: Mapping[str, StoredTensor]
    prefix: str

    def ref(self, name: str) -> TensorRef | None:
        """The reference for one of our names, None where the checkpoint has no such tensor."""
        if not name.startswith("layers."):
            part, _, leaf = name.rpartition(".")
            key = (
                f"lm_head.{leaf}"
                if part == "head"
                else f"{self.prefix}{self.names.top[part]}.{leaf}"
            )
            found = self._find(key)
            return None if found is None else self._whole(name, found)
        _, layer, rest = name.split(".", 2)
        home = f"{self.prefix}{self.names.layer_prefix}{layer}."
        part, _, leaf = rest.rpartition(".")
        if part.startswith(_EXPERTS):
            return self._experts(home, part.removeprefix(_EXPERTS), leaf)
        if part in _CUT and self.shape.latent is not None:
            found = self._find(f"{home}{self.names.layer[_CUT[part]]}.{leaf}")
            return None if found is None else _cut(found, part, self.shape, self.shape.latent)
        full = self.names.layer.get(rest)
        found = self._find(home + (full or f"{self.names.layer[part]}.{leaf}"))
        if found is None:
            return None
        return self._gpt2(part, found) if self.names.conv1d else self._whole(name, found)

    def _find(self, name: str) -> StoredTensor | None:
        found = self.stored.get(name)
        for new, old in _OLD_NAMES:
            if found is None and name.endswith(new):
                found = self.stored.get(name.removesuffix(new) + old)
        if found is not None and found.dtype not in READABLE:
            raise UnsupportedError(
                f"{found.file.path}: {found.name} is {found.dtype}; Takt reads {', '.join(READABLE)}"
            )
        return found

    def _whole(self, name: str, found: StoredTensor) -> TensorRef:
        """As stored; with 1 added where the family's norms multiply by 1 + weight."""
        if self.names.norms_from_one and name.endswith("norm.weight"):
            return TensorRef(dims=found.dims, read=lambda: found.read() + np.float32(1.0))
        return TensorRef(dims=found.dims, read=found.read)

    def _gpt2(self, part: str, found: StoredTensor) -> TensorRef:
        """As we want it: [out, in], and q, k, v apart."""
        if part.endswith("norm"):
            return TensorRef(dims=found.dims, read=found.read)
        dims = found.dims[::-1]
        if part not in _FUSED:
            return TensorRef(dims=dims, read=lambda: np.ascontiguousarray(found.read().T))
        third, rows = _FUSED.index(part), dims[0] // 3 if dims and dims[0] % 3 == 0 else 0
        here = slice(third * rows, (third + 1) * rows)
        return TensorRef(
            dims=(rows, *dims[1:]), read=lambda: np.ascontiguousarray(found.read().T[here])
        )

    def _experts(self, home: str, part: str, leaf: str) -> TensorRef | None:
        """All experts' tensors of one part as one stack."""
        if self.names.interleaved_experts:
            return self._interleaved(home, part, leaf)
        found: list[StoredTensor] = []
        n_experts = self.shape.experts.n_experts if self.shape.experts is not None else 0
        for expert in range(n_experts):
            one = self._find(
                f"{home}{self.names.layer['ffn.experts']}.{expert}.{self._expert(part)}.{leaf}"
            )
            if one is None or one.dims != (found[0].dims if found else one.dims):
                return None
            found.append(one)
        if not found:
            return None
        dims = (n_experts, *found[0].dims)
        return TensorRef(dims=dims, read=lambda: np.stack([one.read() for one in found]))

    def _expert(self, part: str) -> str:
        return self.names.layer[f"{_EXPERTS}{part}"]

    def _interleaved(self, home: str, part: str, leaf: str) -> TensorRef | None:
        """gpt-oss: [n_experts, in, out], the columns of gate and up taking turns."""
        suffix = "_bias" if leaf == "bias" else ""
        found = self._find(f"{home}{self.names.layer['ffn.experts']}.{self._expert(part)}{suffix}")
        if found is None or len(found.dims) != (2 if suffix else 3):
            return None
        turn = {"gate": slice(0, None, 2), "up": slice(1, None, 2)}.get(part, slice(None))
        step = 1 if part == "down" else 2
        dims = (*found.dims[:-1], found.dims[-1] // step)
        if suffix:
            return TensorRef(dims=dims, read=lambda: np.ascontiguousarray(found.read()[:, turn]))
        return TensorRef(
            dims=(dims[0], dims[2], dims[1]),
            read=lambda: np.ascontiguousarray(found.read()[:, :, turn].transpose(0, 2, 1)),
        )


def _cut(found: StoredTensor, part: str, shape: ModelShape, latent: Latent) -> TensorRef:
    """The rows of one part of latent attention out of the matrix it lies in."""
    rank, heads = latent.kv_rank, shape.n_heads
    both = latent.nope_dim + latent.value_dim
    cuts: dict[str, tuple[int, int, Callable[[Tensor], NDArray[np.float32]]]] = {
        "attn.kv_down": (rank + latent.rope_dim, rank, lambda w: w[:rank]),
        "attn.k_rope": (rank + latent.rope_dim, latent.rope_dim, lambda w: w[rank:]),
        "attn.k_up": (
            heads * both,
            heads * latent.nope_dim,
            lambda w: w.reshape(heads, both, -1)[:, : latent.nope_dim],
        ),
        "attn.v_up": (
            heads * both,
            heads * latent.value_dim,
            lambda w: w.reshape(heads, both, -1)[:, latent.nope_dim :],
        ),
    }
    expected_rows, rows, take = cuts[part]
    if len(found.dims) != 2 or found.dims[0] != expected_rows:
        return TensorRef(dims=found.dims, read=found.read)  # its size says what is wrong
    dims = (rows, found.dims[1])
    return TensorRef(dims=dims, read=lambda: np.ascontiguousarray(take(found.read()).reshape(dims)))
