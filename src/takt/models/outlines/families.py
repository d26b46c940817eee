"""What the name of a family says that its config leaves out: tied embeddings, encoders, whether it is known at all."""

from .fields import Fields

__all__ = ["is_encoder", "is_known", "is_tied"]

_ENCODERS_LIST = "bert roberta xlm-roberta camembert electra albert distilbert deberta-v2 mpnet nomic_bert modernbert"
_ENCODERS = frozenset(_ENCODERS_LIST.split())
# Families whose embeddings are tied where the config does not say.
_TIED_LIST = (
    "gpt2 gpt_neo gpt_bigcode bloom opt falcon RefinedWeb RefinedWebModel mpt cohere cohere2 starcoder2 t5 mt5 "
    "umt5 gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4_text mamba2"
)
_TIED = frozenset(_TIED_LIST.split())
# Families whose fields were compared with their reference implementations.
_KNOWN_LIST = (
    "llama mistral mistral3 ministral3 qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next qwen3_5_text qwen3_5_moe_text "
    "qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen3_vl_text qwen3_vl_moe_text qwen3_omni_moe_text qwen "
    "gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4_text gpt_oss mixtral phimoe olmo olmo2 olmo3 olmoe "
    "deepseek deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_ref kimi_k2 kimi_linear kimi_k3 "
    "glm glm4 chatglm glm4_moe glm4_moe_text glm4_moe_lite glm4v_moe_text glm_moe_dsa minimax minimax_text_01 "
    "minimax_m1 minimax_m2 minimax_m3 minimax_m3_vl minimax_m3_vl_text llama4 llama4_text nemotron nemotron_h nemotron-nas deci falcon RefinedWeb "
    "RefinedWebModel bloom gptj gpt2 gpt_neo gpt_neox gpt_bigcode opt mpt phi phi3 phi3small phi3_v internlm "
    "internlm2 internlm3 baichuan aquila xverse yi stablelm stablelm_epoch starcoder2 codegen ernie4_5 "
    "ernie4_5_moe step3p5 step3p7 mimo mimo_v2_flash hunyuan hunyuan_v1_dense hunyuan_v1_moe hy_v3 cohere cohere2 "
    "dbrx jamba mamba mamba2 falcon_mamba rwkv granite granitemoe granitemoehybrid granitemoeshared bamba lfm2 "
    "grok-1 smollm3 exaone exaone4 seed_oss dots1 bailing_moe bailing_moe_v2 llada2_moe xgen chameleon bitnet "
    "bert roberta xlm-roberta camembert electra albert distilbert mpnet modernbert t5 mt5 arcee apertus"
)
_KNOWN = frozenset(_KNOWN_LIST.split())


def is_known(model_type: str) -> bool:
    """Whether the family's fields are known, not only guessed to be the usual ones."""
    return model_type in _KNOWN


def is_encoder(text: Fields) -> bool:
    """Whether the model reads a text at once and generates nothing."""
    return text.text("model_type") in _ENCODERS and not text.flag("is_decoder")


def is_tied(text: Fields, top: Fields) -> bool:
    """Whether the head is the embedding table, by the config or else by the family's habit."""
    for part in (text, top):
        if part.has("tie_word_embeddings"):
            return part.flag("tie_word_embeddings")
    return text.text("model_type") in _TIED
