"""Outlines: published totals, the same counts as shapes and as transformers, and configs from strangers."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.errors import DataError, ModelError, TaktError, UnsupportedError
from takt.models import SHAPES
from takt.models.outlines import (
    OUTLINES,
    Attention,
    Outline,
    outline_from_config,
    outline_from_shape,
    outline_of,
)
from takt.models.outlines.config import read_config
from takt.models.outlines.fields import Fields

PUBLISHED = Path(__file__).resolve().parents[2] / "src/takt/models/outlines/published"
SMALL = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
}
EXPERTS = {"moe_intermediate_size": 64, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 8,
    "q_lora_rank": 48,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
INDEX = {"index_n_heads": 4, "index_head_dim": 16, "index_topk": 32}
ROUTED = EXPERTS | {"n_routed_experts": 8, "n_group": 1, "topk_group": 1}
DELTA = {
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
OLD = {"vocab_size": 1000, "n_embd": 128, "n_layer": 4, "n_head": 8}

# (total, active) in billions as their makers state them; actives there often count an embedding.
TOTALS = {
    "llama-3.1-8b": (8.03, 8.0),
    "llama-3.3-70b": (70.6, 70.6),
    "llama-3.1-405b": (405.9, 405.9),
    "llama-4-maverick": (400.0, 17.0),
    "llama-4-scout": (109.0, 17.0),
    "deepseek-v3": (671.0, 37.0),
    "deepseek-v2": (236.0, 21.0),
    "deepseek-v2-lite": (15.7, 2.4),
    "deepseek-v4-flash": (284.0, 13.0),
    "deepseek-v4-pro": (1600.0, 49.0),
    "kimi-k2": (1040.0, 32.0),
    "kimi-linear-48b-a3b": (49.0, 3.0),
    "qwen3-235b-a22b": (235.0, 22.0),
    "qwen3-30b-a3b": (30.5, 3.3),
    "qwen3-next-80b-a3b": (80.0, 3.6),
    "qwen3-coder-480b-a35b": (480.0, 35.0),
    "qwen3.5-397b-a17b": (397.0, 17.0),
    "gpt-oss-120b": (116.8, 5.1),
    "gpt-oss-20b": (20.9, 3.6),
    "glm-4.5-air": (106.0, 12.0),
    "glm-4.6": (355.0, 32.0),
    "glm-5": (744.0, 40.0),
    "minimax-m2.5": (230.0, 10.0),
    "mixtral-8x7b": (46.7, 12.9),
    "mixtral-8x22b": (141.0, 39.0),
    "nemotron-3-nano-30b-a3b": (31.6, 3.2),
    "nemotron-3-super-120b-a12b": (120.6, 12.0),
    "nemotron-3-ultra-550b-a55b": (550.0, 55.0),
    "nemotron-super-49b": (49.9, 49.9),
    "nemotron-h-56b": (56.3, 56.3),
    "nemotron-nano-9b-v2": (8.9, 8.9),
    "hunyuan-a13b": (80.0, 13.0),
    "dots.llm1": (142.0, 14.0),
    "ernie-4.5-21b-a3b": (21.8, 3.0),
    "ernie-4.5-300b-a47b": (300.0, 47.0),
    "step-3.5-flash": (196.0, 11.0),
    "mimo-v2-flash": (309.0, 15.0),
    "gemma-4-26b-a4b": (25.2, 3.8),
    "gemma-4-31b": (30.7, 30.7),
    "dbrx": (132.0, 36.0),
    "falcon-180b": (179.0, 179.0),
    "bloom-176b": (176.2, 176.2),
    "mistral-large": (123.0, 123.0),
    "gpt-j-6b": (6.05, 6.05),
    "flan-t5-xl": (2.85, 1.43),
}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_those_that_their_makers_state(name: str) -> None:
    outline, (total, active) = outline_of(name), TOTALS[name]
    assert outline.n_parameters / 1e9 == pytest.approx(total, rel=0.025)
    table = outline.vocab_size * outline.dim / 1e9
    found = outline.n_active_parameters / 1e9
    assert 0.93 * active < found + table and found < 1.16 * active


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shape_and_its_outline_count_the_same_weights(name: str) -> None:
    shape, outline = SHAPES[name], outline_from_shape(SHAPES[name])
    assert outline.n_layers == shape.n_layers
    assert outline.n_parameters == pytest.approx(shape.n_parameters, rel=3e-3)
    if shape.family == "decoder":
        positions = shape.max_context * shape.dim if shape.position == "learned" else 0
        active = shape.n_active_parameters - positions
        assert outline.n_active_parameters == pytest.approx(active, rel=3e-3)
        kept = sum(map(shape.kv_elements_per_token, range(shape.n_layers)))
        assert outline.kv_bytes(1, 2.0) == kept * 2


@pytest.mark.parametrize("name", sorted({*SHAPES} & {p.stem for p in PUBLISHED.glob("*.json")}))
def test_a_published_config_has_the_sizes_of_the_ready_shape(name: str) -> None:
    shape, config = outline_from_shape(SHAPES[name]), OUTLINES[name]
    assert sorted(g.count for g in config.groups) == sorted(g.count for g in shape.groups)
    assert config.n_parameters == shape.n_parameters
    assert config.n_active_parameters == shape.n_active_parameters
    assert config.kv_bytes(5000, 2.0) == shape.kv_bytes(5000, 2.0)


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.json")), ids=lambda path: path.stem)
def test_every_entry_is_read_whole_and_says_where_it_is_from(path: Path) -> None:
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["source"] and raw["licence"]
    outline = OUTLINES[path.stem]
    assert outline.name == path.stem
    assert outline.n_parameters >= outline.n_active_parameters > 0
    assert outline.basis == "published" or outline.basis.startswith("assumed: ")
    if "config" in raw:
        fields = Fields(raw["config"])
        read_config(fields, path.stem)
        assert fields.trimmed() == raw["config"]  # nothing lies there that is not read


def test_an_unknown_name_gets_a_near_miss() -> None:
    with pytest.raises(ModelError) as caught:
        outline_of("lama-3.3-70bb")
    assert "llama-3.3-70b" in (caught.value.hint or "")
    assert outline_of("meta-llama/Llama-3.3-70B-Instruct") == outline_of("llama-3.3-70b")


def test_a_directory_a_config_and_a_quantisation_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    config = {**SMALL, "model_type": "llama", "time_step_limit": [0.0, math.inf]}
    (folder / "config.json").write_text(json.dumps(config))
    plain = outline_of(folder)
    assert (plain.name, plain.stored, plain.n_layers) == ("tiny", "bf16", 8)
    assert outline_of(folder / "config.json") == plain
    quantised = {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    (folder / "hf_quant_config.json").write_text(json.dumps(quantised))
    assert outline_of(str(folder)).stored == "fp4"
    with pytest.raises(ModelError, match=r"no config\.json"):
        outline_of(tmp_path)


def test_a_language_model_within_another_is_found() -> None:
    outline = outline_from_config(
        {
            "thinker_config": {"text_config": {**SMALL, "model_type": "qwen3"}},
            "torch_dtype": "float32",
        },
        "x",
    )
    assert (outline.dim, outline.stored) == (128, "fp32")


def test_an_unknown_family_is_read_by_the_usual_fields_or_says_which_are_missing() -> None:
    outline = outline_from_config({**SMALL, "model_type": "brand_new"}, "x")
    assert outline.basis == "assumed: read like a llama"
    assert (
        outline.n_parameters
        == outline_from_config({**SMALL, "model_type": "llama"}, "x").n_parameters
    )
    for field in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
        rest = {key: value for key, value in SMALL.items() if key != field}
        with pytest.raises(ModelError, match=field):
            outline_from_config(rest, "x")


@pytest.mark.parametrize(("quantisation", "stored"), [
    ({"quant_method": "fp8"}, ("fp8", "")),
    ({"quant_method": "awq", "bits": 4}, ("int4", "")),
    ({"quant_method": "gptq", "bits": 8}, ("int8", "")),
    ({"quant_method": "mxfp4"}, ("bf16", "mxfp4")),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, ("fp4", "")),
    ({"quant_algo": "NVFP4", "exclude_modules": ["model.layers.0.self_attn*"]}, ("bf16", "fp4")),
    ({"quant_algo": "FP8", "exclude_modules": ["model.layers.0.self_attn.k_layernorm"]}, ("fp8", "")),
    ({"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"],
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}}, ("bf16", "int4")),
    ({"config_groups": {"a": {"weights": {"num_bits": 8, "type": "float"}},
                        "b": {"weights": {"num_bits": 4, "type": "float"}}}}, ("fp8", "fp4")),
    ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {
        "layers.0.self_attn.q_proj": {"quant_algo": "FP8"}, "layers.0.mlp.experts.0": {"quant_algo": "NVFP4"},
    }}, ("fp8", "fp4")),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}}, ("fp4", "")),
    ({"quant_method": "something new"}, ("bf16", "")),
])  # fmt: skip
def test_how_weights_are_stored(quantisation: dict[str, Any], stored: tuple[str, str]) -> None:
    config = {**SMALL, **EXPERTS, "num_experts": 8, "model_type": "qwen3_moe"}
    outline = outline_from_config({**config, "quantization_config": quantisation}, "x")
    assert (outline.stored, outline.stored_experts) == stored


def test_caches_of_the_kinds_of_attention() -> None:
    gemma = OUTLINES["gemma-4-e2b"]
    assert any(group.attention.shares_cache for group in gemma.groups)
    everything = sum(g.count * g.attention.kv_elements for g in gemma.groups) * 2
    assert gemma.kv_bytes(1, 2.0) < everything  # half of its layers cache nothing
    flat = OUTLINES["qwen3.5-397b-a17b"]
    assert flat.kv_bytes(2000, 1.0) - flat.kv_bytes(1000, 1.0) == 15 * 2 * 512 * 1000
    assert flat.kv_bytes(0, 1.0) == 45 * (64 * 128 * 128 + (2 * 2048 + 8192) * 3) * 4
    window = OUTLINES["gpt-oss-120b"]
    assert window.kv_bytes(4096, 1.0) == 18 * 1024 * (4096 + 128)
    # "10 % of the cache of V3.2 at a million tokens", its report says, which counts index keys at half a byte.
    pooled, before = (
        OUTLINES[n].kv_bytes(1 << 20, 1.0) for n in ("deepseek-v4-pro", "deepseek-v3.2")
    )
    assert 0.08 < pooled / before < 0.12
    assert OUTLINES["deepseek-v3"].kv_bytes(1000, 2.0) == 61 * 576 * 2 * 1000


def test_draft_layers_are_like_the_last_group() -> None:
    for name in ("deepseek-v3", "qwen3.5-397b-a17b", "nemotron-3-super-120b-a12b", "glm-5"):
        outline = OUTLINES[name]
        last = outline.groups[-1]
        assert outline.n_draft_layers == 1
        assert last.attention.kind in ("full", "latent") and last.ffn.n_experts, name


def count_of_transformers(model_type: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Numbers in the matrices of a model that transformers builds, and its config as it writes it."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    mapping = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if model_type not in mapping:
        pytest.skip(f"this version of transformers has no {model_type}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = mapping[model_type](**fields)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    left_out = ("conv", "A_log", "_bias", "position_bias")
    count = sum(
        tensor.numel()
        for name, tensor in model.named_parameters()
        if tensor.ndim >= 2 and not any(word in name for word in left_out)
    )
    return count, config.to_dict()


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen2_moe": SMALL | EXPERTS | {"num_experts": 8, "shared_expert_intermediate_size": 96},
    "qwen3_next": SMALL | EXPERTS | DELTA | {"num_experts": 8, "shared_expert_intermediate_size": 64},
    "qwen3_5_text": SMALL | DELTA,
    "gemma3_text": SMALL | {"head_dim": 32},
    "gemma4_text": SMALL | {
        "head_dim": 32, "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 1000,
        "num_kv_shared_layers": 3, "use_double_wide_mlp": True,
        "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
    },
    "gpt_oss": SMALL | {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 16},
    "deepseek_v3": SMALL | LATENT | ROUTED | {"first_k_dense_replace": 3},
    "deepseek_v32": SMALL | LATENT | ROUTED | INDEX,
    "deepseek_v4": SMALL | ROUTED | INDEX | {
        "num_key_value_heads": 1, "head_dim": 32, "q_lora_rank": 48, "qk_rope_head_dim": 8, "o_groups": 4,
        "o_lora_rank": 16, "sliding_window": 16, "compress_ratios": [0, 4, 128, 4, 128, 4, 128, 4, 0],
    },
    "glm_moe_dsa": SMALL | LATENT | ROUTED | INDEX,
    "glm4_moe_lite": SMALL | LATENT | ROUTED,
    "kimi_linear": SMALL | LATENT | EXPERTS | {
        "pad_token_id": 0, "num_experts": 8, "linear_num_heads": 4, "linear_head_dim": 16,
    },
    "minimax": SMALL | {"num_local_experts": 4, "head_dim": 16},
    "llama4_text": SMALL | {
        "head_dim": 16, "num_local_experts": 4, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 512,
    },
    "nemotron_h": {
        **{key: value for key, value in SMALL.items() if key != "num_hidden_layers"}, **ROUTED,
        "head_dim": 16, "hybrid_override_pattern": "M-M*M-ME*E", "mamba_num_heads": 8, "mamba_head_dim": 16,
        "n_groups": 2, "ssm_state_size": 16, "moe_shared_expert_intermediate_size": 96, "moe_latent_size": 32,
    },
    "mimo_v2_flash": SMALL | EXPERTS | {
        "head_dim": 24, "v_head_dim": 16, "n_routed_experts": 8, "swa_num_attention_heads": 8,
        "swa_num_key_value_heads": 4, "swa_head_dim": 24, "swa_v_head_dim": 16,
    },
    "granitemoehybrid": SMALL | {
        "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_n_groups": 1, "mamba_d_state": 16,
        "layer_types": ["mamba", "mamba", "mamba", "attention"] * 2, "num_local_experts": 4,
        "shared_intermediate_size": 96,
    },
    "jamba": SMALL | {"use_mamba_kernels": False},
    "ernie4_5_moe": SMALL | {"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 64},
    "hunyuan_v1_moe": SMALL | {"num_experts": 4, "moe_topk": 2, "head_dim": 16},
    "cohere2": SMALL,
    "falcon": {"vocab_size": 1000, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8},
    "bloom": {"vocab_size": 1000, "hidden_size": 128, "n_layer": 4, "n_head": 8},
    "gptj": OLD | {"rotary_dim": 8},
    "gpt_bigcode": OLD,
    "mpt": {"vocab_size": 1000, "d_model": 128, "n_layers": 4, "n_heads": 8},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model_type", FAMILIES)
def test_outlines_count_the_matrices_that_transformers_builds(model_type: str) -> None:
    count, config = count_of_transformers(model_type, FAMILIES[model_type])
    outline = outline_from_config(config, model_type)
    # What is left are gates of one row and weights of norms in two dimensions.
    assert outline.n_parameters == pytest.approx(count, rel=2.5e-3)
    assert outline.basis == "published"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def entry_configs() -> list[dict[str, Any]]:
    raws = (
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(PUBLISHED.glob("*.json"))
    )
    return [raw["config"] for raw in raws if "config" in raw]


CONFIGS = entry_configs()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_configs_give_a_clear_error_or_sizes_within_bounds(data: Any) -> None:
    config = json.loads(json.dumps(data.draw(st.sampled_from(CONFIGS))))
    target = config
    for part in ("text_config", "quantization_config", "linear_attn_config"):
        if isinstance(target.get(part), dict) and data.draw(st.booleans()):
            target = target[part]
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(target) or ["x"]))
        target[key] = data.draw(JSON)
    try:
        outline = outline_from_config(config, "x")
    except TaktError as error:
        assert len(str(error)) < 500
    else:
        check_bounds(outline)


def check_bounds(outline: Outline) -> None:
    assert 1 <= outline.n_layers <= 1024
    assert 1 <= outline.dim <= 1 << 18
    assert outline.n_parameters >= 0 and outline.n_active_parameters >= 0
    assert math.isfinite(outline.kv_bytes(1000, 2.0))
    for mixer in (group.attention for group in outline.groups):
        assert isinstance(mixer, Attention)
        if mixer.kind in ("full", "latent"):
            assert min(mixer.n_heads, mixer.n_kv_heads, mixer.head_dim, mixer.kv_elements) >= 1
    assert hash(outline) == hash(outline)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=12), JSON, max_size=6))
def test_objects_that_are_no_configs_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        outline_from_config(raw, "x")


@pytest.mark.parametrize("text", ["[]", "{", "1", '"x"', "[" * 100_000, ""])
def test_files_that_are_no_objects_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(DataError):
        outline_of(path)


def test_a_gguf_file_whose_numbers_takt_does_not_read_has_an_outline(
    tmp_path: Path,
    gguf_bytes: Callable[..., bytes],
    llama_gguf: Callable[..., Any],
    tiny_llama: Any,
) -> None:
    shape = tiny_llama(rope_interleaved=True)
    metadata, tensors = llama_gguf(shape)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_bytes(metadata, tensors))
    outline = outline_of(path)
    expected = outline_from_shape(shape)
    assert outline.n_parameters == expected.n_parameters
    assert outline.kv_bytes(10, 2.0) == expected.kv_bytes(10, 2.0)
    assert (outline.stored, outline.stored_bits) == ("fp32", 0.0)
    path.write_bytes(gguf_bytes(metadata | {"general.architecture": "unheard-of"}, tensors))
    with pytest.raises(UnsupportedError):
        outline_of(path)
