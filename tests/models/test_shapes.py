"""The catalogue of published shapes: figures against what was published, files against a strict reader."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from takt.errors import DataError, DataErrors, ModelError, UnsupportedError
from takt.models import (
    SHAPES,
    Experts,
    Latent,
    ModelShape,
    load_model,
    random_model,
    reference_logits,
    shape_of,
    tensor_shapes,
)
from takt.models.catalogue import shape_entry
from takt.models.parts import RopeScaling

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
HUB = "weights counted in the hub's safetensors"
CARD = "model card"

# Name, published weights, relative tolerance, source. Counts in full must be met exactly.
TOTALS = [
    ("llama-2-7b", 6_738_415_616, 0, HUB),
    ("llama-2-13b", 13_015_864_320, 0, HUB),
    ("llama-2-70b", 68_976_648_192, 0, HUB),
    ("llama-3-8b", 8_030_261_248, 0, HUB),
    ("llama-3-70b", 70_553_706_496, 0, HUB),
    ("llama-3.1-8b", 8_030_261_248, 0, HUB),
    ("llama-3.1-70b", 70_553_706_496, 0, HUB),
    ("llama-3.1-405b", 405_853_388_800, 0, HUB),
    ("llama-3.2-1b", 1_235_814_400, 0, HUB),
    ("llama-3.2-3b", 3_212_749_824, 0, HUB),
    ("llama-3.3-70b", 70_553_706_496, 0, HUB),
    ("llama-4-scout", 109e9, 0.012, f"{CARD}; with the image encoder's 0.87 G"),
    ("mistral-7b", 7.24e9, 0.001, CARD),
    ("mixtral-8x7b", 46_702_792_704, 0, HUB),
    ("mixtral-8x22b", 141e9, 0.01, CARD),
    ("qwen2.5-0.5b", 0.49e9, 0.01, CARD),
    ("qwen2.5-7b", 7.61e9, 0.01, CARD),
    ("qwen2.5-32b", 32.5e9, 0.01, CARD),
    ("qwen2.5-72b", 72.7e9, 0.01, CARD),
    ("qwen3-0.6b", 596_049_920, 0, HUB),
    ("qwen3-8b", 8.2e9, 0.01, CARD),
    ("qwen3-32b", 32.8e9, 0.01, CARD),
    ("qwen3-30b-a3b", 30.5e9, 0.01, CARD),
    ("qwen3-235b-a22b", 235e9, 0.01, CARD),
    ("gpt-oss-20b", 20.91e9, 0.001, "arXiv:2508.10925, table 1"),
    ("gpt-oss-120b", 116.83e9, 0.001, "arXiv:2508.10925, table 1"),
    ("deepseek-v3", 671e9, 0.001, "arXiv:2412.19437, abstract"),
    ("deepseek-r1", 671e9, 0.001, "arXiv:2501.12948"),
    ("kimi-k2", 1_026_408_232_448, 0, HUB),
    ("gemma-2-9b", 917_962_752 + 8_324_201_984, 0.0001, "arXiv:2408.00118, table 2"),
    ("gemma-2-27b", 1_180_237_824 + 26_047_480_320, 0.0001, "arXiv:2408.00118, table 2"),
    ("gemma-3-27b", 1_416e6 + 25_600e6, 0.001, "arXiv:2503.19786, table 1, less the image encoder"),
    ("bert-large", 335_141_888 - 1024 * 1025, 0, f"{HUB}, less the pooler"),
    ("all-minilm-l6-v2", 22_713_216 - 384 * 385, 0, f"{HUB}, less the pooler"),
]
# Name, weights published as active for a token, relative tolerance (half of the last digit where that is more than
# 1 %), whether the figure counts the table of input embeddings, which we do not; source.
ACTIVE = [
    ("mixtral-8x7b", 12.9e9, 0.01, True, "arXiv:2401.04088"),
    ("mixtral-8x22b", 39e9, 0.01, True, CARD),
    ("qwen3-30b-a3b", 3.3e9, 0.017, True, CARD),
    ("qwen3-235b-a22b", 22e9, 0.01, True, CARD),
    ("gpt-oss-20b", 3.61e9, 0.001, False, "arXiv:2508.10925, table 1"),
    ("gpt-oss-120b", 5.13e9, 0.001, False, "arXiv:2508.10925, table 1"),
    ("deepseek-v3", 37e9, 0.0136, False, "arXiv:2412.19437"),
    ("kimi-k2", 32e9, 0.01, False, CARD),
    ("llama-4-scout", 17e9, 0.0148, True, CARD),
]


@pytest.mark.parametrize(("name", "published", "tolerance", "source"), TOTALS)
def test_shapes_have_the_published_number_of_weights(
    name: str, published: float, tolerance: float, source: str
) -> None:
    assert SHAPES[name].n_parameters == pytest.approx(published, rel=tolerance, abs=0), source


@pytest.mark.parametrize(("name", "published", "tolerance", "with_embedding", "source"), ACTIVE)
def test_mixtures_have_the_published_number_of_active_weights(
    name: str, published: float, tolerance: float, with_embedding: bool, source: str
) -> None:
    shape = SHAPES[name]
    found = shape.n_active_parameters + (shape.vocab_size * shape.dim if with_embedding else 0)
    assert found == pytest.approx(published, rel=tolerance, abs=0), source


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_catalogue_file_reads_and_says_where_it_is_from(name: str) -> None:
    entry = shape_entry(name)
    assert entry.shape.name == name
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry.date)
    assert "config" in entry.source
    assert SHAPES[name] is entry.shape
    assert sum(map(math.prod, tensor_shapes(entry.shape).values())) == entry.shape.n_parameters


LLAMA3_CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "bos_token_id": 128000,
    "eos_token_id": 128001, "hidden_act": "silu", "max_position_embeddings": 131072,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "vocab_size": 128256,
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK_CONFIG = {
    "model_type": "deepseek_v3", "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 3,
    "hidden_act": "silu", "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512,
    "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "moe_layer_freq": 1,
    "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": True,
    "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
    "num_key_value_heads": 128, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000,
    "quantization_config": {"quant_method": "fp8"},
    "rope_scaling": {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096, "type": "yarn",
    },
    "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": False,
    "topk_group": 4, "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280,
}  # fmt: skip
QWEN3_MOE_CONFIG = {
    "model_type": "qwen3_moe", "attention_bias": False, "bos_token_id": 151643,
    "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 40960, "mlp_only_layers": [], "norm_topk_prob": True,
    "num_experts": 128, "num_experts_per_tok": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": None,
    "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
GEMMA3_TEXT = {
    "model_type": "gemma3_text", "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
    "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16,
    "query_pre_attn_scalar": 168, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024, "eos_token_id": [1, 106],
}  # fmt: skip
# What the checkpoints' own config.json say, as far as it is read.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": LLAMA3_CONFIG
    | {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
    },
    "llama-3.3-70b": LLAMA3_CONFIG
    | {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_attention_heads": 64,
        "num_hidden_layers": 80,
    },
    "mixtral-8x7b": {
        "model_type": "mixtral", "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "num_local_experts": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
        "sliding_window": None, "vocab_size": 32000,
    },
    "qwen3-30b-a3b": QWEN3_MOE_CONFIG
    | {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_hidden_layers": 48,
    },
    "gpt-oss-120b": {
        "model_type": "gpt_oss", "attention_bias": True, "eos_token_id": 200002, "head_dim": 64,
        "hidden_size": 2880, "intermediate_size": 2880, "max_position_embeddings": 131072,
        "layer_types": ["sliding_attention", "full_attention"] * 18, "num_attention_heads": 64,
        "num_experts_per_tok": 4, "num_hidden_layers": 36, "num_key_value_heads": 8,
        "num_local_experts": 128, "quantization_config": {"quant_method": "mxfp4"},
        "rms_norm_eps": 1e-05, "rope_theta": 150000, "sliding_window": 128, "swiglu_limit": 7.0,
        "rope_scaling": {
            "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "rope_type": "yarn",
            "original_max_position_embeddings": 4096, "truncate": False,
        },
        "tie_word_embeddings": False, "vocab_size": 201088,
    },
    "deepseek-v3": DEEPSEEK_CONFIG,
    "kimi-k2": DEEPSEEK_CONFIG
    | {
        "model_type": "kimi_k2", "bos_token_id": 163584, "eos_token_id": 163585,
        "first_k_dense_replace": 1, "max_position_embeddings": 131072, "n_group": 1,
        "topk_group": 1, "n_routed_experts": 384, "num_attention_heads": 64,
        "num_key_value_heads": 64, "rope_theta": 50000.0, "routed_scaling_factor": 2.827,
        "rope_scaling": {
            "beta_fast": 1.0, "beta_slow": 1.0, "factor": 32.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn",
        },
        "vocab_size": 163840,
    },
    "gemma-2-27b": {
        "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "hidden_size": 4608,
        "intermediate_size": 36864, "num_attention_heads": 32, "num_hidden_layers": 46,
        "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 144,
        "vocab_size": 256000,
    },
    "gemma-3-27b": {"model_type": "gemma3", "text_config": GEMMA3_TEXT},
    "llama-4-scout": {
        "model_type": "llama4",
        "text_config": {
            "attention_chunk_size": 8192, "head_dim": 128, "hidden_size": 5120,
            "interleave_moe_layer_step": 1, "intermediate_size": 8192,
            "intermediate_size_mlp": 16384, "max_position_embeddings": 10485760,
            "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48,
            "num_key_value_heads": 8, "num_local_experts": 16, "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
            "rope_theta": 500000.0, "use_qk_norm": True, "vocab_size": 202048,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_published_config_alone_gives_the_shape_of_the_catalogue(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
    known = SHAPES[name]
    for place in (tmp_path, tmp_path / "config.json"):
        found = shape_of(place)
        # The family of the text part is named after the whole in a config with eyes.
        assert replace(found, name=name, architecture=known.architecture) == known


def test_quantised_weights_hide_no_shape_but_do_not_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DEEPSEEK_CONFIG))
    assert shape_of(tmp_path).n_parameters == SHAPES["deepseek-v3"].n_parameters
    with pytest.raises(UnsupportedError, match="quantised"):
        load_model(tmp_path)


def test_weights_of_a_model_with_eyes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["gemma-3-27b"]))
    with pytest.raises(UnsupportedError, match="sizes, not the weights"):
        load_model(tmp_path)


def test_names_and_models_have_shapes(tmp_path: Path, llama2c_bytes: Any, tiny_llama: Any) -> None:
    assert shape_of("mixtral-8x7b") == shape_of("random:mixtral-8x7b") == SHAPES["mixtral-8x7b"]
    assert shape_of("default") == load_model("default").shape
    (tmp_path / "tiny.bin").write_bytes(llama2c_bytes(tiny_llama()))
    assert shape_of(tmp_path / "tiny.bin") == load_model(tmp_path / "tiny.bin").shape


def test_of_a_hub_checkpoint_only_the_configs_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def fetched(hub_id: str, *, allow_patterns: list[str]) -> str:
        assert hub_id == "someone/something"
        assert all(pattern.endswith(".json") and "*" not in pattern for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["mixtral-8x7b"]))
    shape = shape_of("someone/something")
    assert replace(shape, name="mixtral-8x7b") == SHAPES["mixtral-8x7b"]


def test_a_wrong_name_of_a_shape_gets_a_near_miss() -> None:
    with pytest.raises(ModelError) as caught:
        shape_of("lama-3.1-8b")
    assert "'llama-3.1-8b'" in (caught.value.hint or "")


def test_a_shape_without_weights_does_not_load_and_says_what_would() -> None:
    with pytest.raises(ModelError, match="without weights") as caught:
        load_model("deepseek-v3")
    assert "random:deepseek-v3" in (caught.value.hint or "")
    assert "deepseek-ai/DeepSeek-V3" in (caught.value.hint or "")


HEADER = 'source = "config of a test"\ndate = "2026-01-01"\nlicence = "none"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(HEADER + text)
    return path


def test_a_shape_file_states_what_differs_from_its_base(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'base = "mixtral-8x7b"\n[shape]\nn_layers = 3\nwindows = [64, 0]\n'
        "[shape.experts]\nn_experts = 16\n",
    )
    found, base = shape_of(path), SHAPES["mixtral-8x7b"]
    assert found.name == "mine"
    assert found.windows == (64, None, 64)
    assert base.experts is not None
    assert found.experts == replace(base.experts, n_experts=16)
    assert (
        replace(found, name=base.name, n_layers=32, windows=base.windows, experts=base.experts)
        == base
    )


def test_a_base_keeps_its_windows_and_its_scale_where_they_still_make_sense(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "gpt-oss-20b"\n[shape]\nn_layers = 3\nhead_dim = 32\n')
    found, base = shape_of(path), SHAPES["gpt-oss-20b"]
    assert found.windows == (128, None, 128)
    assert (
        found.attention_scale == base.attention_scale
    )  # yarn's, so not a matter of head_dim alone
    path = write(tmp_path, 'base = "llama-3.1-8b"\n[shape]\nhead_dim = 64\n')
    assert shape_of(path).attention_scale == 0.125


def test_every_problem_of_a_shape_file_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'source = 3\ndate = "2026-01-01"\nlicense = "none"\nbase = "mixtral-8x7b"\n'
        '[shape]\nn_layer = 3\ndim = "wide"\nname = "x"\n[shape.experts]\ntop_k = 2.5\n'
    )
    with pytest.raises(DataErrors) as caught:
        shape_of(path)
    hints = {problem.key: problem.hint for problem in caught.value.problems}
    assert hints.keys() == {
        *("source", "licence", "license", "shape.n_layer", "shape.dim", "shape.name"),
        "shape.experts.top_k",
    }
    assert hints["shape.n_layer"] == "did you mean 'n_layers'?"
    assert hints["license"] == "did you mean 'licence'?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "shape: expected a table"),
        ("shape = 3", "shape: expected a table"),
        ("[shape]\ndim = 8", "shape.n_layers: expected a value, got nothing"),
        ('base = "mixtral-8x8b"', "base: expected the name of another catalogue entry"),
        ("base = 3", "base: expected the name"),
        ('base = "llama-3.3-70b"', "base: expected the name"),  # which has a base of its own
        ('base = "mixtral-8x7b"\n[shape]\nn_layers = 99999999', "n_layers is 99999999"),
        ('base = "mixtral-8x7b"\n[shape]\nn_kv_heads = 5', "n_kv_heads must divide"),
        ('base = "mixtral-8x7b"\n[shape]\nwindows = [-3]', "a window must be at least 1"),
        ('base = "mixtral-8x7b"\n[shape.experts]\ntop_k = 9', "shape.experts: expected numbers"),
        ('base = "llama-2-7b"\n[shape.latent]\nkv_rank = 4', "shape.latent.value_dim: expected"),
    ],
)  # fmt: skip
def test_shape_files_that_make_no_sense_are_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        shape_of(write(tmp_path, text))


@pytest.mark.parametrize("data", [b"\xff", b"a = ", b"x = " + b"[" * 10_000, b"#" * (1 << 17)])
def test_files_that_are_no_toml_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(data)
    with pytest.raises(DataError):
        shape_of(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 0},
        {"top_k": 9},
        {"n_experts": 1 << 40},
        {"n_shared": 1},
        {"n_groups": 3},
        {"n_groups": 4, "top_groups": 5},
        {"n_groups": 8, "top_groups": 1, "top_k": 2},
        {"layer_step": 0},
        {"swiglu_limit": 7.0},
        {"routed_scale": float("nan")},
    ],
)
def test_impossible_mixtures_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="impossible mixture"):
        replace(Experts(n_experts=8, top_k=2, hidden_dim=4), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": 128},
        {"n_kv_heads": 8},
        {"qk_norm": True},
        {"biases": ("attn.o",)},
        {"gated": False},
        {"rope_theta": 1.0},
        {"logit_softcap": 0.0},
        {"local_rope_theta": -1.0},
        {"n_layers": 3, "windows": (None,) * 3},
    ],
)
def test_parts_that_contradict_the_shape_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="impossible"):
        replace(SHAPES["deepseek-v3"], **change)


def test_latent_attention_needs_sizes() -> None:
    with pytest.raises(ModelError, match="sizes"):
        Latent(q_rank=None, kv_rank=0, rope_dim=2, nope_dim=2, value_dim=2)
    with pytest.raises(ModelError, match="even"):
        Latent(q_rank=None, kv_rank=2, rope_dim=3, nope_dim=2, value_dim=2)


def test_the_cache_of_latent_attention_is_one_short_vector() -> None:
    assert SHAPES["deepseek-v3"].kv_elements_per_token(60) == 512 + 64
    assert SHAPES["llama-3.3-70b"].kv_elements_per_token(0) == 2 * 8 * 128
    with pytest.raises(ModelError, match=r"layers 0\.\.79"):
        SHAPES["llama-3.3-70b"].kv_elements_per_token(80)


def test_first_layers_may_be_dense_and_later_ones_may_take_turns(tiny_llama: Any) -> None:
    experts = Experts(n_experts=4, top_k=1, hidden_dim=8, first_dense_layers=1, layer_step=2)
    shape = tiny_llama(n_layers=4, windows=(None,) * 4, experts=experts)
    assert [shape.has_experts(layer) for layer in range(4)] == [False, True, False, True]
    names = tensor_shapes(shape)
    assert "layers.0.ffn.gate.weight" in names
    assert "layers.1.ffn.gate.weight" not in names
    assert names["layers.1.ffn.experts.down.weight"] == (4, 64, 8)


def test_what_is_not_computed_is_refused_with_its_name(tiny_llama: Any) -> None:
    shape = tiny_llama(not_computed=("attention in chunks",))
    assert shape.special_parts == ("attention in chunks",)
    with pytest.raises(UnsupportedError, match="attention in chunks"):
        reference_logits(random_model(shape), [1])


def test_plain_shapes_have_no_special_parts_and_others_name_them() -> None:
    plain = {"llama-3.3-70b", "qwen3-32b", "mistral-7b", "gpt2", "bert-base"}
    assert not any(SHAPES[name].special_parts for name in plain)
    assert SHAPES["deepseek-v3"].special_parts == ("a mixture of experts", "latent attention")
    assert SHAPES["gpt-oss-20b"].special_parts == ("a mixture of experts", "attention sinks")
    assert len(SHAPES["gemma-2-9b"].special_parts) == 4


def test_rope_scaling_bounds_may_touch_but_not_cross() -> None:
    RopeScaling(kind="yarn", beta_fast=1.0, beta_slow=1.0)
    for change in ({"beta_fast": 0.5}, {"beta_slow": float("inf")}, {"original_context": 0}):
        with pytest.raises(ModelError):
            replace(RopeScaling(kind="yarn"), **change)


def _count(n: int) -> str:
    return f"{n / 1e9:.2f} G" if n >= 1e9 else f"{n / 1e6:.2f} M"


def _row(shape: ModelShape) -> list[str]:
    """A shape's line in the table of docs/models.md."""
    experts, latent = shape.experts, shape.latent
    heads = (
        f"{shape.n_heads} / {shape.n_kv_heads}" if latent is None else f"{shape.n_heads}, latent"
    )
    mixture = "" if experts is None else f"{experts.top_k} of {experts.n_experts}"
    if experts is not None and experts.n_shared:
        mixture += f" + {experts.n_shared}"
    active = "" if experts is None else _count(shape.n_active_parameters)
    kv = sum(map(shape.kv_elements_per_token, range(shape.n_layers)))
    sizes = [str(shape.n_layers), str(shape.dim), heads, mixture, str(shape.max_context)]
    kv_text = "" if shape.family == "encoder" else str(kv)
    return [f"`{shape.name}`", *sizes, _count(shape.n_parameters), active, kv_text]


def test_the_table_in_the_docs_is_what_the_catalogue_says() -> None:
    text = DOCS.read_text(encoding="utf-8").split("## Ready shapes")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert rows == [_row(SHAPES[name]) for name in sorted(SHAPES)]
