"""What each Hugging Face family calls its tensors.

Tables only: canonical part names (those of `shape`) on the left, the checkpoint's on the right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """Where a family keeps its tensors. `layer` and `top` map our names to its; `prefixes` come first.

    The longest prefix that fits the file's names holds; the head has none. With `conv1d`, weights are stored
    [in, out] and q, k, v side by side under one name.
    """

    prefixes: tuple[str, ...]
    layer_prefix: str
    top: Mapping[str, str]
    layer: Mapping[str, str]
    conv1d: bool = False


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
