"""Every family, tiny and random, saved by `transformers`, loaded by Takt, must give the same numbers."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.models import (
    SHAPES,
    Model,
    load_model,
    reference_encoding,
    reference_logits,
    rope_frequencies,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Their deprecations are not ours to fix.
pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = 1e-4
LLAMA = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 96, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64}
NEO = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_layers": 4,
    "num_heads": 4,
    "max_position_embeddings": 64,
    "attention_types": [[["global", "local"], 2]],
    "window_size": 5,
}
BERT = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
MIXTRAL = LLAMA | {"num_local_experts": 5, "num_experts_per_tok": 2}
QWEN3_MOE = LLAMA | {
    "head_dim": 16,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
}
GPT_OSS = LLAMA | {
    "head_dim": 16,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 6,
    "rope_parameters": YARN | {"truncate": False},
}
DEEPSEEK = LLAMA | {
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
}
DEEPSEEK_YARN = YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 4.0, "beta_slow": 1.0}
GEMMA = LLAMA | {"head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 6}
GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e4},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "llama-biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama-head-size": ("Llama", LLAMA | {"head_dim": 24}),
    "llama3-rope": ("Llama", LLAMA | {"rope_parameters": LLAMA3_ROPE}),
    "llama-linear-rope": (
        "Llama",
        LLAMA | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e4}},
    ),
    "mistral": ("Mistral", LLAMA | {"sliding_window": 6}),
    "mistral-no-window": ("Mistral", LLAMA | {"sliding_window": None}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen2-window": (
        "Qwen2",
        LLAMA | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", LLAMA | {"head_dim": 32}),
    "gpt2": ("GPT2", GPT2),
    "gpt2-gelu": ("GPT2", GPT2 | {"activation_function": "gelu"}),
    "gpt-neo": ("GPTNeo", NEO),
    "llama-yarn": ("Llama", LLAMA | {"rope_parameters": YARN}),
    "mixtral": ("Mixtral", MIXTRAL),
    "qwen3-moe": ("Qwen3Moe", QWEN3_MOE | {"norm_topk_prob": True}),
    "qwen3-moe-unnormed": ("Qwen3Moe", QWEN3_MOE),
    "qwen3-moe-every-second": ("Qwen3Moe", QWEN3_MOE | {"decoder_sparse_step": 2}),
    "qwen3-moe-dense-first": ("Qwen3Moe", QWEN3_MOE | {"mlp_only_layers": [0]}),
    "gpt-oss": ("GptOss", GPT_OSS),
    "deepseek-v3": ("DeepseekV3", DEEPSEEK),
    "deepseek-v3-yarn": ("DeepseekV3", DEEPSEEK | {"rope_parameters": DEEPSEEK_YARN}),
    "deepseek-v3-one-group": (
        "DeepseekV3",
        DEEPSEEK | {"n_group": 1, "topk_group": 1, "norm_topk_prob": False},
    ),
    "deepseek-v3-wide-queries": ("DeepseekV3", DEEPSEEK | {"q_lora_rank": None}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma2-caps": (
        "Gemma2",
        GEMMA | {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0},
    ),
    "gemma3": (
        "Gemma3Text",
        GEMMA | {"num_hidden_layers": 7, "rope_parameters": GEMMA3_ROPE},
    ),
}
HEADS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}


def build(kind: str, options: dict[str, Any], head: str = "ForCausalLM") -> Any:
    """A random model of theirs with weights large enough for every part to matter."""
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(**options)
    config._attn_implementation = "eager"
    model = getattr(transformers, HEADS.get(kind, kind + head))(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm = "norm" in name.lower() or ".ln_" in name
            centre = 1.0 if is_norm and not kind.startswith("Gemma") else 0.0
            parameter.normal_(centre if name.endswith("weight") else 0.0, 0.15)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.3)
    return model


def ids_of(vocab_size: int, n: int = 24) -> list[int]:
    return np.random.default_rng(11).integers(0, vocab_size, n).tolist()


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def theirs(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


@pytest.mark.parametrize("case", DECODERS)
def test_decoder_gives_the_logits_of_transformers(case: str, tmp_path: Path) -> None:
    model = build(*DECODERS[case])
    model.save_pretrained(tmp_path)
    ids = ids_of(96)
    expected = theirs(model, ids)
    with load_model(tmp_path) as ours:
        assert relative_error(reference_logits(ours, ids), expected) < TOLERANCE
        assert relative_error(reference_logits(ours, ids, dtype=np.float64), expected) < TOLERANCE


@pytest.mark.parametrize("name", ["gpt-oss-120b", "deepseek-v3", "kimi-k2", "llama-3.1-8b"])
@pytest.mark.parametrize("truncate", [True, False])
def test_published_rotary_frequencies_are_those_of_transformers(name: str, truncate: bool) -> None:
    shape = SHAPES[name]
    assert shape.rope_scaling is not None
    scaling = replace(shape.rope_scaling, truncate=truncate)
    config = transformers.LlamaConfig(
        head_dim=shape.rope_dim,
        max_position_embeddings=shape.max_context,
        rope_parameters={
            "rope_type": scaling.kind,
            "rope_theta": shape.rope_theta,
            "factor": scaling.factor,
            "original_max_position_embeddings": scaling.original_context,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
            "truncate": truncate,
        },
    )
    compute = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS[scaling.kind]
    expected = compute(config, device="cpu")[0].double().numpy()
    found = rope_frequencies(replace(shape, rope_scaling=scaling))
    assert np.allclose(found, expected, rtol=1e-5)


def test_bert_gives_the_hidden_states_of_transformers(tmp_path: Path) -> None:
    model = build("Bert", BERT, "Model")
    model.save_pretrained(tmp_path)
    ids = ids_of(96)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    with load_model(tmp_path) as ours:
        found = reference_encoding(ours, ids)
    assert relative_error(found.hidden, expected) < TOLERANCE
    assert np.array_equal(found.pooled, found.hidden[0])


def test_bert_with_a_head_on_top_loads_as_the_same_encoder(tmp_path: Path) -> None:
    model = build("Bert", BERT, "ForMaskedLM")
    model.save_pretrained(tmp_path)
    ids = ids_of(96)
    with torch.no_grad():
        expected = model.bert(torch.tensor([ids])).last_hidden_state[0].numpy()
    with load_model(tmp_path) as ours:
        assert relative_error(reference_encoding(ours, ids).hidden, expected) < TOLERANCE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_widened_exactly(dtype: str, tmp_path: Path) -> None:
    model = build("Llama", LLAMA).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    with load_model(tmp_path) as ours:
        expected = model.model.layers[1].mlp.gate_proj.weight.float().detach().numpy()
        assert np.array_equal(ours.tensor("layers.1.ffn.gate.weight"), expected)


def test_shards_with_an_index_are_one_model(tmp_path: Path) -> None:
    model = build("Llama", LLAMA)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    ids = ids_of(96)
    with load_model(tmp_path) as ours:
        assert relative_error(reference_logits(ours, ids), theirs(model, ids)) < TOLERANCE


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("gguf", "accelerate")),
    reason="gguf or accelerate, which transformers reads GGUF with, is not installed",
)
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0"])
def test_gguf_llama_gives_the_logits_of_transformers_reading_the_same_file(
    kind: str,
    tmp_path: Path,
    tiny_llama: Callable[..., Any],
    llama_gguf: Callable[..., tuple[dict[str, Any], dict[str, np.ndarray]]],
    gguf_bytes: Callable[..., bytes],
) -> None:
    shape = tiny_llama(rope_interleaved=True)
    metadata, tensors = llama_gguf(shape)
    (tmp_path / "tiny.gguf").write_bytes(gguf_bytes(metadata, tensors, kind))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="tiny.gguf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = ids_of(96)
    with load_model(tmp_path / "tiny.gguf") as ours:
        assert relative_error(reference_logits(ours, ids), theirs(model, ids)) < TOLERANCE


def test_sentence_encoder_gives_the_mean_pooled_vector_of_transformers(minilm: Model) -> None:
    from_theirs = transformers.BertModel.from_pretrained(
        minilm.source.removeprefix("Hugging Face directory ")
    ).eval()
    assert minilm.tokenizer is not None
    ids = minilm.tokenizer.encode("The beat of a machine is fixed before it starts.")
    with torch.no_grad():
        pooled = from_theirs(torch.tensor([ids])).last_hidden_state[0].mean(0)
    expected = (pooled / pooled.norm()).numpy()
    assert relative_error(reference_encoding(minilm, ids).pooled, expected) < TOLERANCE
