"""Every parser against damaged files: a TaktError or success, and never much memory.

Each test starts from a small valid file and damages it: bytes changed, the end cut off, numbers swapped for
absurd ones. `LIMIT_BYTES` is what a parse may allocate at its peak, far above what the small file needs and
far below what an unchecked size would ask for.
"""

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, processors

import takt.models
from takt.errors import TaktError
from takt.models import ModelShape, load_model, rope_frequencies, shape_of
from takt.models.gguf import GgufFile
from takt.models.safetensors_file import open_safetensors
from takt.models.tokenizer import load_tokenizer_json

LIMIT_BYTES = 16 << 20
ABSURD = (0, 1, 2, 31, 33, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 64) - 1)  # fmt: skip

fuzz = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damage(draw: st.DrawFn, data: bytes, head: int | None = None) -> bytes:
    """`data` with one to three wounds, mostly in its first `head` bytes, where the structure is."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        if not out:
            break
        at = draw(st.integers(0, min(len(out), head or len(out)) - 1))
        wound = draw(st.integers(0, 3))
        if wound == 0:
            out[at] = draw(st.integers(0, 255))
        elif wound == 1:
            del out[draw(st.integers(0, len(out))) :]
        elif wound == 2:
            width, code = draw(st.sampled_from([(4, "<I"), (8, "<Q")]))
            value = draw(st.sampled_from(ABSURD)) & ((1 << 8 * width) - 1)
            out[at : at + width] = struct.pack(code, value)
        else:
            out[at:at] = draw(st.binary(max_size=8))
    return bytes(out)


def survives(read: Callable[[], Any]) -> None:
    """`read` ends in success or a TaktError, within `LIMIT_BYTES`."""
    tracemalloc.start()
    try:
        read()
    except TaktError as error:
        assert str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < LIMIT_BYTES


def read_all(path: Path) -> None:
    with load_model(path) as model:
        for name in model.names():
            model.tensor(name)


@fuzz
@given(data=st.data())
def test_damaged_llama2c_files(
    data: st.DataObject,
    tmp_path: Path,
    tiny_llama: Callable[..., ModelShape],
    llama2c_bytes: Callable[..., bytes],
) -> None:
    path = tmp_path / "tiny.bin"
    path.write_bytes(data.draw(damage(llama2c_bytes(tiny_llama(n_layers=1, windows=(None,))), 28)))
    survives(lambda: read_all(path))


@fuzz
@given(numbers=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=7, max_size=7))
def test_llama2c_headers_of_any_numbers(numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "tiny.bin"
    path.write_bytes(struct.pack("<7i", *numbers) + bytes(64))
    with pytest.raises(TaktError):
        load_model(path)


@fuzz
@given(data=st.data())
def test_damaged_gguf_files(
    data: st.DataObject,
    tmp_path: Path,
    tiny_llama: Callable[..., ModelShape],
    llama_gguf: Callable[..., tuple[dict[str, Any], dict[str, np.ndarray]]],
    gguf_bytes: Callable[..., bytes],
) -> None:
    metadata, tensors = llama_gguf(tiny_llama(n_layers=1, windows=(None,)))
    metadata["tokenizer.ggml.model"] = "llama"
    metadata["tokenizer.ggml.tokens"] = [f"t{i}" for i in range(96)]
    metadata["tokenizer.ggml.scores"] = [float(-i) for i in range(96)]
    path = tmp_path / "tiny.gguf"
    path.write_bytes(data.draw(damage(gguf_bytes(metadata, tensors, "Q8_0"), 3500)))
    survives(lambda: read_all(path))


@fuzz
@given(data=st.data())
def test_damaged_gguf_vocabularies(
    data: st.DataObject, tmp_path: Path, gguf_bytes: Callable[..., bytes]
) -> None:
    metadata = {"a": ["x", "yy"], "b": [1, 2, 3], "c": [1.0], "d": True, "general.alignment": 32}
    path = tmp_path / "tiny.gguf"
    path.write_bytes(data.draw(damage(gguf_bytes(metadata, {"w": np.ones((2, 32), np.float32)}))))
    survives(lambda: [tensor.read() for tensor in GgufFile(path).tensors.values()])


@fuzz
@given(data=st.data())
def test_damaged_safetensors_files(
    data: st.DataObject, tmp_path: Path, safetensors_bytes: Callable[..., bytes]
) -> None:
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float16), "c": np.ones(1, "i8")}
    path = tmp_path / "model.safetensors"
    path.write_bytes(data.draw(damage(safetensors_bytes(tensors))))
    survives(lambda: [t.read() for t in open_safetensors(path).values() if t.dtype != "I64"])


@fuzz
@given(data=st.data())
def test_damaged_tokenizer_json(data: st.DataObject, tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer(models.BPE(vocab={"h": 0, "e": 1, "he": 2}, merges=[("h", "e")]))
    inner.add_special_tokens(["<s>"])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 3)]
    )
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data.draw(damage(inner.to_str().encode())))

    def use() -> None:
        tokenizer = load_tokenizer_json(path)
        tokenizer.decode(tokenizer.encode("hehe"))

    survives(use)


def test_a_panic_inside_the_tokenizer_library_is_a_takt_error(tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer(models.BPE(vocab={"h": 0}, merges=[]))
    inner.add_special_tokens(["<s>"])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    text = json.loads(inner.to_str())
    text["post_processor"]["special_tokens"] = {}
    (tmp_path / "tokenizer.json").write_text(json.dumps(text))
    with pytest.raises(TaktError):
        load_tokenizer_json(tmp_path / "tokenizer.json").encode("h")


NUMBERS = st.one_of(st.sampled_from(ABSURD), st.integers(-5, 40), st.integers())


@fuzz
@given(
    dtype=st.sampled_from(["F32", "BF16", "F64", "I64", "X9", ""]),
    dims=st.lists(NUMBERS, max_size=10),
    offsets=st.lists(NUMBERS, max_size=3),
)
def test_safetensors_entries_of_any_numbers(
    dtype: str,
    dims: list[int],
    offsets: list[int],
    tmp_path: Path,
    safetensors_bytes: Callable[..., bytes],
) -> None:
    entry = {"dtype": dtype, "shape": dims, "data_offsets": offsets}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"w": np.ones(8, np.float32)}, {"w": entry}))
    survives(lambda: [t.read() for t in open_safetensors(path).values() if t.dtype != "I64"])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)
FAMILY_KEYS = {
    "llama": ("rope_scaling", "rope_parameters", "head_dim", "mlp_bias"),
    "mistral": ("sliding_window", "head_dim"),
    "qwen2": ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),
    "qwen3": ("layer_types", "head_dim"),
    "gpt2": ("n_embd", "n_layer", "n_head", "n_inner", "n_positions"),
    "gpt_neo": ("num_layers", "num_heads", "attention_types", "attention_layers", "window_size"),
    "mixtral": ("num_local_experts", "num_experts_per_tok", "rope_scaling"),
    "qwen3_moe": ("num_experts", "mlp_only_layers", "decoder_sparse_step", "norm_topk_prob"),
    "gpt_oss": ("num_local_experts", "layer_types", "swiglu_limit", "rope_parameters"),
    "deepseek_v3": (
        *("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "v_head_dim", "n_group", "topk_group"),
        *("n_routed_experts", "n_shared_experts", "first_k_dense_replace", "rope_scaling"),
    ),
    "gemma2": ("query_pre_attn_scalar", "layer_types", "attn_logit_softcapping"),
    "gemma3_text": ("sliding_window_pattern", "rope_parameters", "rope_local_base_freq"),
    "llama4": ("text_config",),
    "llama4_text": ("no_rope_layer_interval", "interleave_moe_layer_step", "num_local_experts"),
    "bert": ("type_vocab_size", "layer_norm_eps", "position_embedding_type"),
}


@fuzz
@given(data=st.data())
def test_configs_with_any_values(
    data: st.DataObject, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, config, _ = hf_llama
    family = data.draw(st.sampled_from(sorted(FAMILY_KEYS)))
    keys = st.sampled_from([*config, *FAMILY_KEYS[family]])
    changes = data.draw(st.dictionaries(keys, JSON, max_size=4))
    changed = config | {"model_type": family} | changes
    (folder / "config.json").write_text(json.dumps(changed))
    survives(lambda: shape_of(folder))
    survives(lambda: read_all(folder))


YARN = st.fixed_dictionaries(
    {"rope_type": st.just("yarn")},
    optional={
        key: st.one_of(NUMBERS, st.floats())
        for key in (
            *("factor", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"),
            *("original_max_position_embeddings", "rope_theta"),
        )
    },
)


@fuzz
@given(rope=YARN, family=st.sampled_from(["llama", "deepseek_v3", "gpt_oss"]), context=NUMBERS)
def test_yarn_of_any_numbers(
    rope: dict[str, Any], family: str, context: int, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, config, _ = hf_llama
    changes = {"model_type": family, "rope_scaling": rope, "max_position_embeddings": context}
    (folder / "config.json").write_text(json.dumps(config | changes))
    survives(lambda: rope_frequencies(shape_of(folder)))


@pytest.mark.parametrize("family", ["deepseek_v3", "gpt_oss", "gemma2"])
def test_many_layers_without_their_tensors_are_refused_in_little_memory(
    family: str, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, config, _ = hf_llama
    changes = {"model_type": family, "num_hidden_layers": 1024, "n_routed_experts": 16384}
    (folder / "config.json").write_text(json.dumps(config | changes))
    survives(lambda: read_all(folder))


@fuzz
@given(data=st.data())
def test_damaged_shape_files(data: st.DataObject, tmp_path: Path) -> None:
    folder = Path(takt.models.__file__).parent / "shapes"
    name = data.draw(st.sampled_from(["deepseek-v3", "gpt-oss-20b", "minilm", "gemma-3-27b"]))
    (tmp_path / "mine.toml").write_bytes(data.draw(damage((folder / f"{name}.toml").read_bytes())))
    survives(lambda: shape_of(tmp_path / "mine.toml"))


@fuzz
@given(data=st.data())
def test_damaged_config_text(
    data: st.DataObject, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, config, _ = hf_llama
    (folder / "config.json").write_bytes(data.draw(damage(json.dumps(config).encode())))
    survives(lambda: read_all(folder))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"a":' * 200_000, b"", b"\xff", b"null", b"1e999"]
)
def test_json_that_is_deep_empty_or_no_text(
    name: str, text: bytes, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, _, _ = hf_llama
    (folder / name).write_bytes(text)
    survives(lambda: read_all(folder))


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/etc/passwd", "a\0.safetensors", "", "b/c.safetensors"]
)
def test_an_index_cannot_name_files_elsewhere(
    shard: str, hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, _, _ = hf_llama
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TaktError):
        load_model(folder)


@fuzz
@given(
    repeat=NUMBERS,
    n_layers=NUMBERS,
    group=st.lists(st.sampled_from(["global", "local"]), max_size=3),
)
def test_gpt_neo_run_lengths_make_no_long_lists(
    repeat: int, n_layers: int, group: list[str], hf_llama: tuple[Path, dict[str, Any], Any]
) -> None:
    folder, config, _ = hf_llama
    neo = config | {
        "model_type": "gpt_neo",
        "num_layers": n_layers,
        "num_heads": 4,
        "attention_types": [[group, repeat]],
    }
    (folder / "config.json").write_text(json.dumps(neo))
    survives(lambda: read_all(folder))
