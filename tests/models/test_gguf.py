"""GGUF: architectures, number formats and the tokenizers in the metadata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import pre_tokenizers

from takt.errors import DataError, DataErrors, UnsupportedError
from takt.models import ModelShape, load_model, random_model, reference_logits
from takt.models.gguf import GgufFile
from takt.models.shape import UNGATED_PARTS

IDS = [1, 5, 90, 33, 2, 17, 60, 8]
Writer = Callable[..., bytes]
LlamaParts = Callable[..., tuple[dict[str, Any], dict[str, np.ndarray]]]
Shapes = Callable[..., ModelShape]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[bytes], Path]:
    def save(data: bytes) -> Path:
        path = tmp_path / "tiny.gguf"
        path.write_bytes(data)
        return path

    return save


def renamed(parts: dict[str, Any], arch: str) -> dict[str, Any]:
    out = {key.replace("llama.", f"{arch}.", 1): value for key, value in parts.items()}
    return out | {"general.architecture": arch}


@pytest.mark.parametrize("version", [2, 3])
def test_llama_gives_the_logits_of_its_weights(
    version: int, saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    shape = tiny_llama(rope_interleaved=True)
    path = saved(gguf_bytes(*llama_gguf(shape), version=version))
    with load_model(path) as model:
        assert model.shape.rope_interleaved
        expected = reference_logits(random_model(shape, 3), IDS)
        assert np.array_equal(reference_logits(model, IDS), expected)


def test_an_untied_head_is_read(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    shape = tiny_llama(rope_interleaved=True, tied_embeddings=False)
    with load_model(saved(gguf_bytes(*llama_gguf(shape)))) as model:
        assert not model.shape.tied_embeddings
        expected = reference_logits(random_model(shape, 3), IDS)
        assert np.array_equal(reference_logits(model, IDS), expected)


@pytest.mark.parametrize(("arch", "changes"), [
    ("qwen2", {"biases": ("attn.q", "attn.k", "attn.v")}),
    ("qwen3", {"qk_norm": True, "head_dim": 32}),
])  # fmt: skip
def test_qwen_keeps_its_rotary_halves_apart(
    arch: str,
    changes: dict[str, Any],
    saved: Any,
    tiny_llama: Shapes,
    llama_gguf: LlamaParts,
    gguf_bytes: Writer,
) -> None:
    shape = tiny_llama(architecture=arch, **changes, rope_interleaved=False)
    shape = tiny_llama(
        architecture=arch, **changes, rope_interleaved=False, attention_scale=shape.head_dim**-0.5
    )
    metadata, tensors = llama_gguf(shape)
    metadata["llama.attention.key_length"] = shape.head_dim
    with load_model(saved(gguf_bytes(renamed(metadata, arch), tensors))) as model:
        assert not model.shape.rope_interleaved
        expected = reference_logits(random_model(shape, 3), IDS)
        assert np.array_equal(reference_logits(model, IDS), expected)


def gpt2_shape(tiny_llama: Shapes) -> ModelShape:
    return tiny_llama(
        architecture="gpt2",
        n_kv_heads=4,
        norm="layer",
        activation="gelu_tanh",
        gated=False,
        position="learned",
        biases=UNGATED_PARTS,
    )


def test_gpt2_rows_of_q_k_v_come_apart(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    shape = gpt2_shape(tiny_llama)
    metadata, tensors = llama_gguf(shape)
    metadata = renamed(metadata, "gpt2") | {"gpt2.attention.layer_norm_epsilon": 1e-5}
    tensors["position_embd.weight"] = tensors.pop("position.weight")
    for layer in range(shape.n_layers):
        for leaf in ("weight", "bias"):
            parts = [tensors.pop(f"blk.{layer}.attn_{part}.{leaf}") for part in "qkv"]
            tensors[f"blk.{layer}.attn_qkv.{leaf}"] = np.concatenate(parts)
    with load_model(saved(gguf_bytes(metadata, tensors))) as model:
        assert model.shape.position == "learned"
        expected = reference_logits(random_model(shape, 3), IDS)
        assert np.allclose(reference_logits(model, IDS), expected, rtol=1e-5, atol=1e-6)


def test_rope_factors_are_read_from_their_tensor(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama())
    tensors["rope_freqs.weight"] = np.linspace(1, 8, 8, dtype=np.float32)
    with load_model(saved(gguf_bytes(metadata, tensors))) as model:
        assert model.shape.rope_scaling is not None
        assert model.shape.rope_scaling.factors == tuple(float(x) for x in np.linspace(1, 8, 8))


# Half a step of the coarsest block: 1/127 of its peak (Q8_0), 1/8 of it (Q4_0, where +peak is one step short).
@pytest.mark.parametrize(("kind", "error"), [("F16", 1e-3), ("BF16", 8e-3), ("Q8_0", 1 / 250), ("Q4_0", 1 / 7.9)])  # fmt: skip
def test_number_formats_lose_no_more_than_they_must(
    kind: str, error: float, saved: Any, gguf_bytes: Writer
) -> None:
    values = np.random.default_rng(5).standard_normal((6, 64)).astype(np.float32)
    path = saved(gguf_bytes({"general.architecture": "llama"}, {"w": values}, kind))
    found = GgufFile(path).tensors["w"].read()
    peaks = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True)
    assert found.dtype == np.float32
    assert found.shape == values.shape
    assert (np.abs(found - values).reshape(-1, 32) / peaks).max() <= error
    assert not np.array_equal(found, values)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_blocks_decode_as_the_gguf_package_decodes_them(
    kind: str, saved: Any, gguf_bytes: Writer
) -> None:
    gguf = pytest.importorskip("gguf", reason="the gguf package is the outside reference here")
    values = np.random.default_rng(6).standard_normal((4, 96)).astype(np.float32)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    data = gguf_bytes({"general.architecture": "llama"}, {"w": values}, kind)
    path = saved(data[: -stored.nbytes] + stored.tobytes())
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(GgufFile(path).tensors["w"].read(), expected)


def test_a_tensor_without_numbers_is_refused(saved: Any, gguf_bytes: Writer) -> None:
    path = saved(
        gguf_bytes({"general.architecture": "llama"}, {"w": np.zeros((0, 32), np.float32)})
    )
    with pytest.raises(DataError, match="dimensions of at least 1"):
        GgufFile(path)


def test_q4_0_block_of_known_bytes() -> None:
    from takt.models.gguf import FORMATS

    block = np.frombuffer(np.float16(0.5).tobytes() + bytes([0xF0] * 16), np.uint8)
    found = FORMATS[2].decode(block)
    assert found.tolist() == [(0 - 8) * 0.5] * 16 + [(15 - 8) * 0.5] * 16


def test_score_merge_tokenizer_in_the_metadata(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama())
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"]
    pieces += [f"pad{i}" for i in range(96 - len(pieces))]
    metadata |= {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0]
        + [-99.0] * 86,
        "tokenizer.ggml.token_type": [2, 3, 3, 6] + [1] * 92,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    with load_model(saved(gguf_bytes(metadata, tensors))) as model:
        assert model.tokenizer is not None
        assert model.tokenizer.encode("ab\nb") == [1, 9, 3, 6]
        assert model.tokenizer.encode("ab", bos=False) == [9]
        assert model.tokenizer.decode([1, 9, 3, 6, 2]) == "ab\nb"
        assert model.shape.eos_ids == (2,)


def byte_level_metadata(pre: str) -> dict[str, Any]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, "he", "llo", "hello", "12", "<|end|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 1) + [3],
        "tokenizer.ggml.merges": ["h e", "l l", "he llo", "1 2"],
        "tokenizer.ggml.bos_token_id": len(tokens) - 1,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }


@pytest.mark.parametrize(
    ("pre", "together"), [("gpt-2", True), ("qwen2", False), ("smollm", False)]
)
def test_byte_level_tokenizer_in_the_metadata_splits_digits_by_its_rule(
    pre: str,
    together: bool,
    saved: Any,
    tiny_llama: Shapes,
    llama_gguf: LlamaParts,
    gguf_bytes: Writer,
) -> None:
    tokens = byte_level_metadata(pre)
    tokens["tokenizer.ggml.tokens"][-4:-3] = ["ll"]  # merges make "ll"; it must be a token
    metadata, tensors = llama_gguf(tiny_llama(vocab_size=261))
    tokens["tokenizer.ggml.merges"] = ["h e", "l l", "1 2"]
    with load_model(saved(gguf_bytes(metadata | tokens, tensors))) as model:
        assert model.tokenizer is not None
        ids = model.tokenizer.encode("hello 12 é<|end|>")
        assert model.tokenizer.decode(ids) == "hello 12 é"
        assert ids[-1] == 260
        assert (tokens["tokenizer.ggml.tokens"].index("12") in ids) is together
        assert tokens["tokenizer.ggml.tokens"].index("he") == ids[0]


def test_unknown_splitting_rule_is_named(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama(vocab_size=261))
    path = saved(gguf_bytes(metadata | byte_level_metadata("tekken"), tensors))
    with pytest.raises(UnsupportedError, match="tekken"):
        load_model(path)


def test_unsupported_architecture_is_named_with_what_is_supported(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama())
    path = saved(gguf_bytes(renamed(metadata, "falcon"), tensors))
    with pytest.raises(UnsupportedError, match="falcon") as caught:
        load_model(path)
    assert "qwen3" in (caught.value.hint or "")


def test_number_format_out_of_reach_is_named(saved: Any, gguf_bytes: Writer) -> None:
    data = gguf_bytes({"a": 1}, {"w": np.zeros((2, 32), np.float32)})
    at = data.index(b"w" + (2).to_bytes(4, "little")) + 1 + 4 + 16
    path = saved(data[:at] + (12).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(UnsupportedError, match="Q4_K"):
        GgufFile(path)


def test_missing_tensor_is_named(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama())
    del tensors["blk.1.ffn_up.weight"]
    path = saved(gguf_bytes(metadata, tensors))
    with pytest.raises(DataErrors, match=r"layers\.1\.ffn\.up\.weight"):
        load_model(path)


def test_big_endian_file_is_refused_by_its_version(saved: Any, gguf_bytes: Writer) -> None:
    data = gguf_bytes({"a": 1}, {})
    path = saved(data[:4] + data[4:8][::-1] + data[8:])
    with pytest.raises(UnsupportedError, match="version"):
        GgufFile(path)


def test_wrong_type_of_metadata_is_reported_with_its_key(
    saved: Any, tiny_llama: Shapes, llama_gguf: LlamaParts, gguf_bytes: Writer
) -> None:
    metadata, tensors = llama_gguf(tiny_llama())
    path = saved(gguf_bytes(metadata | {"llama.block_count": "two"}, tensors))
    with pytest.raises(DataError, match=r"llama\.block_count"):
        load_model(path)
