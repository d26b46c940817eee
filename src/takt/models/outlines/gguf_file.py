"""Outlines of GGUF files, whatever number formats they hold: sizes from the metadata, bits a weight from the tensor list.

The metadata is turned into the fields of a `config.json` and read like one. Only architectures whose keys say all that
an outline needs are known.
"""

import math
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from takt.errors import DataError, ModelError, UnsupportedError, did_you_mean

from ..gguf import GgufFile, GgufTensor
from .config import outline_from_config
from .outline import Outline

__all__ = ["outline_of_gguf"]

# llama.cpp's name of an architecture -> Hugging Face's.
_FAMILIES = MappingProxyType(
    {
        "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe",
        "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "gpt-oss": "gpt_oss",
        "deepseek2": "deepseek_v3", "glm4moe": "glm4_moe", "phi3": "phi3", "gpt2": "gpt2", "bloom": "bloom",
        "falcon": "falcon", "starcoder2": "starcoder2", "command-r": "cohere", "minimax-m2": "minimax_m2",
        "dots1": "dots1", "ernie4_5-moe": "ernie4_5_moe", "hunyuan-moe": "hunyuan_v1_moe", "mistral3": "mistral3",
    }
)  # fmt: skip
# Key behind the architecture -> field of a config.
_FIELDS = MappingProxyType(
    {
        "block_count": "num_hidden_layers",
        "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size",
        "context_length": "max_position_embeddings",
        "vocab_size": "vocab_size",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "attention.key_length": "head_dim",
        "attention.sliding_window": "sliding_window",
        "attention.kv_lora_rank": "kv_lora_rank",
        "attention.q_lora_rank": "q_lora_rank",
        "expert_count": "n_routed_experts",
        "expert_used_count": "num_experts_per_tok",
        "expert_feed_forward_length": "moe_intermediate_size",
        "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
        "expert_shared_count": "n_shared_experts",
        "leading_dense_block_count": "first_k_dense_replace",
        "nextn_predict_layers": "num_nextn_predict_layers",
    }
)
# Bits a weight of ggml's number formats, their scales included (ggml-common.h).
_BITS = MappingProxyType(
    {
        0: 32.0, 1: 16.0, 2: 4.5, 3: 5.0, 6: 5.5, 7: 6.0, 8: 8.5, 9: 9.0, 10: 2.625, 11: 3.4375, 12: 4.5,
        13: 5.5, 14: 6.5625, 15: 9.125, 16: 2.0625, 17: 2.3125, 18: 3.0625, 19: 1.5625, 20: 4.5, 21: 3.4375,
        22: 2.5625, 23: 4.25, 29: 1.75, 30: 16.0, 34: 1.6875, 35: 2.0625, 39: 4.25,
    }
)  # fmt: skip
_MAX_ELEMENTS = 1 << 50


class _Listing(GgufFile):
    """A GGUF file of which only the metadata and the list of tensors is read."""

    __slots__ = ("bits", "has_head")

    def _placed(
        self,
        descriptions: list[tuple[str, tuple[int, ...], int, int]],
        data_start: int,
        alignment: int,
    ) -> dict[str, GgufTensor]:
        total, elements = 0.0, 0
        for name, dims, number, _ in descriptions:
            size = math.prod(dims)
            if number not in _BITS or not 0 <= size <= _MAX_ELEMENTS:
                raise self._bad(name, "a known number format and size", f"type {number}, {dims}")
            elements += size
            total += size * _BITS[number]
        self.bits = total / elements if elements else 0.0
        self.has_head = any(name == "output.weight" for name, *_ in descriptions)
        return {}

    def config(self) -> dict[str, Any]:
        """The metadata as a `config.json` would say it."""
        arch = self.text("general.architecture")
        if arch not in _FAMILIES:
            hint = did_you_mean(arch, list(_FAMILIES)) or f"known: {', '.join(_FAMILIES)}"
            raise UnsupportedError(f"GGUF architecture {arch!r} has no outline", hint=hint)
        found: dict[str, Any] = {
            field: _plain(self._metadata[f"{arch}.{key}"])
            for key, field in _FIELDS.items()
            if f"{arch}.{key}" in self._metadata
        }
        found["model_type"] = _FAMILIES[arch]
        found["tie_word_embeddings"] = not self.has_head
        if "vocab_size" not in found and self.has("tokenizer.ggml.tokens"):
            found["vocab_size"] = len(self.texts("tokenizer.ggml.tokens"))
        drafts = found.get("num_nextn_predict_layers", 0)
        if isinstance(drafts, int) and isinstance(found.get("num_hidden_layers"), int):
            found["num_hidden_layers"] -= drafts  # counted among the blocks there
        if "kv_lora_rank" in found:
            found |= self._latent(arch)
        return found

    def _latent(self, arch: str) -> dict[str, int]:
        rope = self.integer(f"{arch}.rope.dimension_count")
        newer = self.has(f"{arch}.attention.key_length_mla")
        key = self.integer(f"{arch}.attention.key_length{'_mla' if newer else ''}")
        value = self.integer(f"{arch}.attention.value_length{'_mla' if newer else ''}")
        return {
            "qk_rope_head_dim": rope,
            "qk_nope_head_dim": max(key - rope, 0),
            "v_head_dim": value,
            "head_dim": key,
        }


def outline_of_gguf(path: Path) -> Outline:
    """The outline of a GGUF file; `stored_bits` is the average over its tensors.

    Raises DataError (damaged, keys missing or out of range) or UnsupportedError (architecture, version).
    """
    listing = _Listing(path)
    try:
        outline = outline_from_config(listing.config(), path.stem)
    except ModelError as error:
        raise DataError(str(error), file=str(path), hint=error.hint) from error
    finally:
        listing.file.close()
    bits = listing.bits
    stored = "bf16" if bits >= 15.5 else "int8" if bits > 6.0 else "int4"
    return replace(
        outline, stored="fp32" if bits > 31 else stored, stored_bits=0.0 if bits >= 15.5 else bits
    )


def _plain(value: object) -> object:
    """A value as JSON would have it."""
    return value.tolist() if isinstance(value, np.ndarray) else value
