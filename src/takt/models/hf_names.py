"""What each Hugging Face family calls its tensors.

Tables only: canonical part names (those of `shape`) on the left, the checkpoint's on the right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """Where a family keeps its tensors. `layer` and `top` map our names to its; `prefixes` come first.

    The longest prefix that fits the file's names holds; the head has none. A key of `layer` with `.weight` or
    `.bias` at its end stands for the whole name.

    - `conv1d`: weights are stored [in, out], and q, k, v side by side under one name.
    - `interleaved_experts`: all experts in one tensor [n_experts, in, out], gate and up taking turns.
    - `norms_from_one`: norms multiply by 1 + weight.
    """

    prefixes: tuple[str, ...]
    layer_prefix: str
    top: Mapping[str, str]
    layer: Mapping[str, str]
    conv1d: bool = False
    interleaved_experts: bool = False
    norms_from_one: bool = False


LLAMA_NAMES = TensorNames(
    prefixes=("model.", ""),
    layer_prefix="layers.",
    top=MappingProxyType({"embed": "embed_tokens", "final.norm": "norm"}),
    layer=MappingProxyType(
        {
            "attn.norm": "input_layernorm",
            "attn.q": "self_attn.q_proj",
            "attn.k": "self_attn.k_proj",
            "attn.v": "self_attn.v_proj",
            "attn.o": "self_attn.o_proj",
            "attn.q_norm": "self_attn.q_norm",
            "attn.k_norm": "self_attn.k_norm",
            "ffn.norm": "post_attention_layernorm",
            "ffn.gate": "mlp.gate_proj",
            "ffn.up": "mlp.up_proj",
            "ffn.down": "mlp.down_proj",
        }
    ),
)


def _like_llama(
    layer: Mapping[str, str], *, interleaved_experts: bool = False, norms_from_one: bool = False
) -> TensorNames:
    """The names of Llama but for these."""
    return replace(
        LLAMA_NAMES,
        layer=MappingProxyType({**LLAMA_NAMES.layer, **layer}),
        interleaved_experts=interleaved_experts,
        norms_from_one=norms_from_one,
    )


MIXTRAL_NAMES = _like_llama(
    {
        "ffn.router": "block_sparse_moe.gate",
        "ffn.experts": "block_sparse_moe.experts",
        "ffn.experts.gate": "w1",
        "ffn.experts.up": "w3",
        "ffn.experts.down": "w2",
    }
)

QWEN_MOE_NAMES = _like_llama(
    {
        "ffn.router": "mlp.gate",
        "ffn.experts": "mlp.experts",
        "ffn.experts.gate": "gate_proj",
        "ffn.experts.up": "up_proj",
        "ffn.experts.down": "down_proj",
    }
)

DEEPSEEK_NAMES = replace(
    QWEN_MOE_NAMES,
    layer=MappingProxyType(
        {
            **QWEN_MOE_NAMES.layer,
            "attn.q_down": "self_attn.q_a_proj",
            "attn.q_down_norm": "self_attn.q_a_layernorm",
            "attn.q_up": "self_attn.q_b_proj",
            "attn.kv_down_and_rope": "self_attn.kv_a_proj_with_mqa",
            "attn.kv_down_norm": "self_attn.kv_a_layernorm",
            "attn.kv_up": "self_attn.kv_b_proj",
            "ffn.router.selection.bias": "mlp.gate.e_score_correction_bias",
            "ffn.shared.gate": "mlp.shared_experts.gate_proj",
            "ffn.shared.up": "mlp.shared_experts.up_proj",
            "ffn.shared.down": "mlp.shared_experts.down_proj",
        }
    ),
)

GPT_OSS_NAMES = _like_llama(
    {
        "attn.sinks.weight": "self_attn.sinks",
        "ffn.router": "mlp.router",
        "ffn.experts": "mlp.experts",
        "ffn.experts.gate": "gate_up_proj",
        "ffn.experts.up": "gate_up_proj",
        "ffn.experts.down": "down_proj",
    },
    interleaved_experts=True,
)

GEMMA_NAMES = _like_llama(
    {
        "attn.post_norm": "post_attention_layernorm",
        "ffn.norm": "pre_feedforward_layernorm",
        "ffn.post_norm": "post_feedforward_layernorm",
    },
    norms_from_one=True,
)

_GPT_TOP = MappingProxyType({"embed": "wte", "position": "wpe", "final.norm": "ln_f"})

GPT2_NAMES = TensorNames(
    prefixes=("transformer.", ""),
    layer_prefix="h.",
    top=_GPT_TOP,
    layer=MappingProxyType(
        {
            "attn.norm": "ln_1",
            "attn.q": "attn.c_attn",
            "attn.k": "attn.c_attn",
            "attn.v": "attn.c_attn",
            "attn.o": "attn.c_proj",
            "ffn.norm": "ln_2",
            "ffn.up": "mlp.c_fc",
            "ffn.down": "mlp.c_proj",
        }
    ),
    conv1d=True,
)

GPT_NEO_NAMES = TensorNames(
    prefixes=("transformer.", ""),
    layer_prefix="h.",
    top=_GPT_TOP,
    layer=MappingProxyType(
        {
            "attn.norm": "ln_1",
            "attn.q": "attn.attention.q_proj",
            "attn.k": "attn.attention.k_proj",
            "attn.v": "attn.attention.v_proj",
            "attn.o": "attn.attention.out_proj",
            "ffn.norm": "ln_2",
            "ffn.up": "mlp.c_fc",
            "ffn.down": "mlp.c_proj",
        }
    ),
)

BERT_NAMES = TensorNames(
    prefixes=("bert.", ""),
    layer_prefix="encoder.layer.",
    top=MappingProxyType(
        {
            "embed": "embeddings.word_embeddings",
            "position": "embeddings.position_embeddings",
            "token_type": "embeddings.token_type_embeddings",
            "embed.norm": "embeddings.LayerNorm",
        }
    ),
    layer=MappingProxyType(
        {
            "attn.q": "attention.self.query",
            "attn.k": "attention.self.key",
            "attn.v": "attention.self.value",
            "attn.o": "attention.output.dense",
            "attn.norm": "attention.output.LayerNorm",
            "ffn.up": "intermediate.dense",
            "ffn.down": "output.dense",
            "ffn.norm": "output.LayerNorm",
        }
    ),
)
