"""Shapes, models, names and files: what loads, what is refused, and how it is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.errors import DataError, DataErrors, ModelError, UnsupportedError
from takt.models import (
    SHAPES,
    Model,
    ModelShape,
    load_model,
    random_model,
    reference_encoding,
    reference_logits,
    rope_frequencies,
    tensor_shapes,
)
from takt.models.hub import is_hub_id
from takt.models.model import TensorRef
from takt.models.parts import RopeScaling

Directory = tuple[Path, dict[str, Any], dict[str, np.ndarray]]
Shapes = Callable[..., ModelShape]


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        (
            "stories260k",
            260_032,
        ),  # the published checkpoint's 1,056,540 bytes, less header and rope
        ("stories15m", 15_191_712),  # 6 layers of 288, 32,000 tied embeddings
        ("gpt2", 124_439_808),  # as `transformers` counts the published model
        ("smollm-135m", 134_515_008),  # as its model card says, 134.5 M
        ("bert-base", 108_891_648),  # 109,482,240 published, less the pooler's 768 x 769
    ],
)
def test_ready_shapes_have_the_published_number_of_parameters(name: str, n_parameters: int) -> None:
    assert SHAPES[name].n_parameters == n_parameters


def test_random_model_is_the_same_every_time_and_another_with_another_seed(
    tiny_llama: Shapes,
) -> None:
    first, again, other = (random_model(tiny_llama(), seed) for seed in (4, 4, 5))
    name = "layers.1.ffn.up.weight"
    assert np.array_equal(first.tensor(name), again.tensor(name))
    assert not np.array_equal(first.tensor(name), other.tensor(name))
    assert not np.array_equal(first.tensor(name), first.tensor("layers.0.ffn.up.weight"))


def test_a_tied_head_is_the_embedding(tiny_llama: Shapes) -> None:
    model = random_model(tiny_llama())
    assert model.has("head.weight")
    assert "head.weight" not in model.names()
    assert np.array_equal(model.tensor("head.weight"), model.tensor("embed.weight"))


def test_an_encoder_has_no_head_and_no_final_norm(tiny_llama: Shapes) -> None:
    shape = replace(SHAPES["bert-base"], n_layers=1, windows=(None,), vocab_size=50)
    model = random_model(shape)
    assert not model.has("head.weight")
    assert not model.has("final.norm.weight")
    with pytest.raises(UnsupportedError, match="encoder"):
        reference_logits(model, [1])
    with pytest.raises(UnsupportedError, match="decoder"):
        reference_encoding(random_model(tiny_llama()), [1])


def test_a_wrong_tensor_name_gets_a_near_miss(tiny_llama: Shapes) -> None:
    with pytest.raises(ModelError) as caught:
        random_model(tiny_llama()).tensor("layers.0.atn.q.weight")
    assert "layers.0.attn.q.weight" in (caught.value.hint or "")


def test_missing_and_misshapen_tensors_are_all_named(tiny_llama: Shapes) -> None:
    shape = tiny_llama()
    refs = {
        name: TensorRef(dims=dims, read=lambda: np.zeros(1, np.float32))
        for name, dims in tensor_shapes(shape).items()
    }
    del refs["final.norm.weight"]
    refs["embed.weight"] = TensorRef(dims=(1, 2), read=refs["embed.weight"].read)
    with pytest.raises(DataErrors) as caught:
        Model(shape=shape, tensors=refs, source="here")
    assert {problem.key for problem in caught.value.problems} == {
        "embed.weight",
        "final.norm.weight",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"n_kv_heads": 3},
        {"head_dim": 15},
        {"windows": (None,)},
        {"windows": (None, 0)},
        {"norm_eps": float("nan")},
        {"dim": 0},
        {"vocab_size": 1 << 40},
        {"biases": ("attn.z",)},
        {"rope_theta": -1.0},
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, Any], tiny_llama: Shapes) -> None:
    with pytest.raises(ModelError, match="impossible"):
        tiny_llama(**change)


def test_llama3_scaling_keeps_fast_pairs_and_stretches_slow_ones(tiny_llama: Shapes) -> None:
    plain = tiny_llama(head_dim=64, rope_theta=500000.0)
    scaling = RopeScaling(kind="llama3", factor=8.0, original_context=8192)
    ratio = rope_frequencies(plain) / rope_frequencies(replace(plain, rope_scaling=scaling))
    assert ratio[0] == 1
    assert ratio[-1] == pytest.approx(8)
    assert (np.diff(ratio) >= -1e-12).all()


@pytest.mark.parametrize("ids", [[], [96], [-1], list(range(33))])
def test_ids_out_of_range_are_refused(ids: list[int], tiny_llama: Shapes) -> None:
    with pytest.raises(ModelError):
        reference_logits(random_model(tiny_llama()), ids)


def test_logits_do_not_depend_on_later_tokens(tiny_llama: Shapes) -> None:
    model = random_model(tiny_llama())
    short, long = reference_logits(model, [1, 2, 3]), reference_logits(model, [1, 2, 3, 4, 5])
    assert np.allclose(short, long[:3], atol=1e-5)
    assert not np.allclose(long[2], long[3], atol=1e-3)


def test_a_window_hides_what_is_further_back(tiny_llama: Shapes) -> None:
    model = random_model(tiny_llama(n_layers=1, windows=(2,)))
    assert np.array_equal(
        reference_logits(model, [1, 2, 3])[2], reference_logits(model, [9, 2, 3])[2]
    )
    assert not np.array_equal(
        reference_logits(model, [1, 2, 3])[2], reference_logits(model, [1, 9, 3])[2]
    )


@pytest.mark.parametrize("tied", [True, False])
def test_llama2c_weights_are_where_the_format_puts_them(
    tied: bool, tmp_path: Path, tiny_llama: Shapes, llama2c_bytes: Callable[..., bytes]
) -> None:
    shape = tiny_llama(tied_embeddings=tied)
    path = tmp_path / "tiny.bin"
    path.write_bytes(llama2c_bytes(shape))
    expected = random_model(shape, 3)
    with load_model(path) as model:
        assert model.tokenizer is None
        assert model.shape.tied_embeddings is tied
        for name in expected.names():
            assert np.array_equal(model.tensor(name), expected.tensor(name)), name


def test_llama2c_file_of_the_wrong_length_is_refused(
    tmp_path: Path, tiny_llama: Shapes, llama2c_bytes: Callable[..., bytes]
) -> None:
    path = tmp_path / "tiny.bin"
    path.write_bytes(llama2c_bytes(tiny_llama()) + b"\0")
    with pytest.raises(DataError, match="does not match its header"):
        load_model(path)


def test_later_llama2c_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "v2.bin"
    path.write_bytes(b"24ka" + (2).to_bytes(4, "little") + bytes(300))
    with pytest.raises(UnsupportedError, match="version 2"):
        load_model(path)


def test_hugging_face_directory_gives_its_weights_and_ids(hf_llama: Directory) -> None:
    folder, _, tensors = hf_llama
    with load_model(folder) as model:
        assert model.shape.bos_id == 1
        assert model.shape.eos_ids == (2, 5)
        found = model.tensor("layers.1.attn.k.weight")
        assert np.array_equal(found, tensors["model.layers.1.self_attn.k_proj.weight"])


def test_generation_config_adds_end_ids(hf_llama: Directory) -> None:
    folder, _, _ = hf_llama
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert load_model(folder).shape.eos_ids == (7, 8)


def test_arrays_outlive_a_closed_model(hf_llama: Directory) -> None:
    model = load_model(hf_llama[0])
    array = model.tensor("embed.weight")
    model.close()
    assert np.isfinite(array).all()
    with pytest.raises(ModelError, match="closed"):
        model.tensor("embed.weight")


def test_a_file_in_a_directory_names_the_directory(hf_llama: Directory) -> None:
    folder, _, _ = hf_llama
    assert load_model(folder / "model.safetensors").shape == load_model(folder).shape


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, UnsupportedError, "Mamba"),
        ({"model_type": "lama"}, UnsupportedError, "lama"),
        ({"quantization_config": {"bits": 4}}, UnsupportedError, "quantised"),
        ({"hidden_act": "mish"}, UnsupportedError, "mish"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, UnsupportedError, "longrope"),
        ({"hidden_size": 128, "head_dim": 16}, DataErrors, "embed.weight"),
        ({"num_hidden_layers": 3}, DataErrors, "layers.2.attn.q.weight"),
        ({"num_hidden_layers": 10**9}, DataError, "num_hidden_layers"),
        ({"hidden_size": "big"}, DataError, "hidden_size"),
        ({"num_attention_heads": 0}, DataError, "num_attention_heads"),
    ],
)
def test_configs_out_of_reach_say_why(
    change: dict[str, Any], error: type[Exception], words: str, hf_llama: Directory
) -> None:
    folder, config, _ = hf_llama
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(error, match=words):
        load_model(folder)


def test_unsupported_architecture_gets_a_near_miss(hf_llama: Directory) -> None:
    folder, config, _ = hf_llama
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "lama"}))
    with pytest.raises(UnsupportedError) as caught:
        load_model(folder)
    assert "'llama'" in (caught.value.hint or "")


def test_pickled_weights_are_refused(hf_llama: Directory) -> None:
    folder, _, _ = hf_llama
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedError, match="pickle"):
        load_model(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnsupportedError, match="pickle"):
        load_model(folder / "pytorch_model.bin")


def test_overlapping_tensors_are_refused(
    tmp_path: Path, safetensors_bytes: Callable[..., bytes], hf_llama: Directory
) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}
    data = safetensors_bytes(
        {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}, {"b": entry}
    )
    (hf_llama[0] / "model.safetensors").write_bytes(data)
    with pytest.raises(DataError, match="overlap"):
        load_model(hf_llama[0])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "12 bytes for the shape"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "within 8 bytes"),
        ({"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}, "at least 0"),
        ({"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}, "numbers"),
        ({"dtype": "F3", "shape": [2], "data_offsets": [0, 8]}, "dtype"),
        ({"dtype": "F32", "shape": [2]}, "data_offsets"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "code": "x"}, "code"),
    ],
)
def test_safetensors_headers_that_lie_are_refused_with_the_reason(
    entry: dict[str, Any],
    words: str,
    hf_llama: Directory,
    safetensors_bytes: Callable[..., bytes],
) -> None:
    data = safetensors_bytes({"a": np.ones(2, np.float32)}, {"a": entry})
    (hf_llama[0] / "model.safetensors").write_bytes(data)
    with pytest.raises(DataError, match=words):
        load_model(hf_llama[0])


def test_weights_of_a_type_out_of_reach_are_named(
    hf_llama: Directory, safetensors_bytes: Callable[..., bytes]
) -> None:
    folder, _, tensors = hf_llama
    wrong = tensors | {"model.norm.weight": np.ones(64, np.int64)}
    (folder / "model.safetensors").write_bytes(safetensors_bytes(wrong))
    with pytest.raises(UnsupportedError, match="I64"):
        load_model(folder)


def test_tensors_at_odd_places_come_out_aligned(
    hf_llama: Directory, safetensors_bytes: Callable[..., bytes]
) -> None:
    folder, _, tensors = hf_llama
    data = safetensors_bytes(tensors)
    length = int.from_bytes(data[:8], "little")
    for pad in range(4):  # one of these puts float32 at an odd address
        header = data[8 : 8 + length] + b" " * pad
        (folder / "model.safetensors").write_bytes(
            len(header).to_bytes(8, "little") + header + data[8 + length :]
        )
        with load_model(folder) as model:
            array = model.tensor("layers.0.attn.q.weight")
            assert array.flags.aligned
            assert array.flags.c_contiguous
            assert np.array_equal(array, tensors["model.layers.0.self_attn.q_proj.weight"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("defalt", "'default'"),
        ("gpt-2", "'gpt2'"),
        ("smolm-135m", "smollm"),
        ("random:gtp2", "'gpt2'"),
    ],
)
def test_a_wrong_name_gets_a_near_miss(name: str, near: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(name)
    assert near in (caught.value.hint or "")


def test_a_wrong_path_gets_a_near_miss(tmp_path: Path) -> None:
    (tmp_path / "stories.bin").write_bytes(b"x")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "storys.bin")
    assert "'stories.bin'" in (caught.value.hint or "")


def test_a_directory_without_config_names_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "stories.bin").write_bytes(b"x")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert "stories.bin" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "", "a/b/c", "~", "random:"])
def test_names_that_are_nothing_are_refused(name: str) -> None:
    with pytest.raises((ModelError, UnsupportedError)):
        load_model(name)


def test_random_shape_loads_by_name() -> None:
    assert load_model("random:smollm-135m").shape == SHAPES["smollm-135m"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", True),
        ("HuggingFaceTB/SmolLM-135M", True),
        ("a", False),
        ("../b", False),
        ("a/b/c", False),
    ],
)
def test_hub_ids_are_owner_and_name(text: str, expected: bool) -> None:
    assert is_hub_id(text) is expected


def test_the_hub_out_of_reach_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"no route to host$") as caught:
        load_model("someone/something")
    assert "network" in (caught.value.hint or "")


def test_a_hub_id_loads_what_was_fetched(
    monkeypatch: pytest.MonkeyPatch, hf_llama: Directory
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def fetched(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        return str(hf_llama[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert load_model("gpt2").shape.name == "gpt2"
    assert asked["hub_id"] == "openai-community/gpt2"
    assert not any(pattern.endswith(".bin") for pattern in asked["allow_patterns"])
