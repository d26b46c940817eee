"""A Llama-shaped model of ours as a model of `transformers`: same shape, same weights, fp32, eager attention.

What `transformers` is compared at: a loop of single steps with its KV cache and greedy choice, without the further work
that its `generate` does around each step.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from takt.models import Model

_LAYER = {
    "attn.norm": "input_layernorm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj",
    "ffn.norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
}
_TOP = {"embed": "model.embed_tokens", "final.norm": "model.norm", "head": "lm_head"}


def _theirs(name: str) -> str:
    part, kind = name.rsplit(".", 1)
    if not part.startswith("layers."):
        return f"{_TOP[part]}.{kind}"
    _, layer, part = part.split(".", 2)
    return f"model.layers.{layer}.{_LAYER[part]}.{kind}"


class Twin:
    """`transformers` running a model step by step. Not for models with interleaved rotary pairs or scaled positions."""

    def __init__(self, model: Model, *, threads: int) -> None:
        shape = model.shape
        scale_is_usual = math.isclose(shape.attention_scale, shape.head_dim**-0.5)
        plain = shape.architecture == "llama" and scale_is_usual and shape.rope_scaling is None
        if not plain or shape.rope_interleaved:
            raise ValueError(f"{shape.name} has no twin: plain Llama shapes only")
        torch.set_num_threads(threads)
        config = LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.dim,
            intermediate_size=shape.hidden_dim,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_kv_heads,
            head_dim=shape.head_dim,
            max_position_embeddings=shape.max_context,
            rms_norm_eps=shape.norm_eps,
            rope_theta=shape.rope_theta,
            tie_word_embeddings=shape.tied_embeddings,
            attn_implementation="eager",
        )
        self._model = LlamaForCausalLM(config).eval()
        weights = {_theirs(name): torch.from_numpy(model.tensor(name)) for name in model.names()}
        if shape.tied_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        self._model.load_state_dict(weights)
        self._cache = DynamicCache()

    def reset(self) -> None:
        """Forget the sequence."""
        self._cache = DynamicCache()

    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Take tokens in; logits after the last one."""
        with torch.inference_mode():
            out = self._model(
                torch.tensor([tokens]), past_key_values=self._cache, use_cache=True
            ).logits
        return out[0, -1].numpy()
