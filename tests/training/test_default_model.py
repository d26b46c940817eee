"""The shipped model directory is whole, consistent, and safe in float16."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def config(default_model: Path) -> dict[str, object]:
    loaded = json.loads((default_model / "config.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def tensors(default_model: Path) -> dict[str, np.ndarray]:
    return load_file(default_model / "model.safetensors")


@pytest.fixture(scope="module")
def tokenizer(default_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(default_model / "tokenizer.json"))


def expected_shapes(config: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Every tensor that a tied LlamaForCausalLM of this configuration has, and no other."""
    dim, hidden, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], dim),
        "model.norm.weight": (dim,),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.input_layernorm.weight": (dim,),
            f"{name}.self_attn.q_proj.weight": (query, dim),
            f"{name}.self_attn.k_proj.weight": (key, dim),
            f"{name}.self_attn.v_proj.weight": (key, dim),
            f"{name}.self_attn.o_proj.weight": (dim, query),
            f"{name}.post_attention_layernorm.weight": (dim,),
            f"{name}.mlp.gate_proj.weight": (hidden, dim),
            f"{name}.mlp.up_proj.weight": (hidden, dim),
            f"{name}.mlp.down_proj.weight": (dim, hidden),
        }
    return shapes


def test_tensors_are_exactly_those_of_the_config(config, tensors) -> None:
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected_shapes(config)


def test_weights_are_float16_finite_and_small(tensors) -> None:
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float16, name
        assert np.isfinite(tensor).all(), name
        assert np.abs(tensor.astype(np.float32)).max() < 1e3, name


def test_weights_are_trained_and_not_a_constant(tensors) -> None:
    for name, tensor in tensors.items():
        assert tensor.astype(np.float32).std() > 1e-3, name


def test_vocabulary_fits_the_embedding(config, tokenizer) -> None:
    assert tokenizer.get_vocab_size() == config["vocab_size"]
    assert tokenizer.token_to_id("<|endoftext|>") == config["bos_token_id"]
    assert config["bos_token_id"] == config["eos_token_id"]


@pytest.mark.parametrize("file", [Path(__file__), Path(json.__file__)], ids=["test", "json"])
def test_tokenizer_round_trips_python_source(tokenizer, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(ids) < len(text.encode()) / 2


@pytest.mark.parametrize("text", ["", "\t\r\n", "naïve = 'Ω → 🐍'", "\x00\x7f", "    " * 20 + "x"])
def test_tokenizer_round_trips_odd_text(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_no_shipped_file_is_large(default_model: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in default_model.iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"} <= set(sizes)
    assert sum(sizes.values()) < 12 * MEBIBYTE, sizes
