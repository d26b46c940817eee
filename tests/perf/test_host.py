"""The engine for this machine's processors: the files made for it, what it computes, and what is expected of it."""

import importlib.util
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from takt.errors import CapacityError, ModelError, UnsupportedError, UsageError
from takt.models import (
    SHAPES,
    Model,
    ModelShape,
    load_model,
    random_model,
    reference_logits,
    rope_frequencies,
)
from takt.models.gguf_model import load_gguf
from takt.models.model import TensorRef
from takt.models.parts import RopeScaling
from takt.models.shape import UNGATED_PARTS
from takt.perf.host import (
    HostMachine,
    HostRequest,
    gguf_of,
    layer_time_s,
    measure_machine,
    predict,
    require_engine,
    run_engine,
    work_of,
    write_gguf,
)

IDS = (1, 5, 90, 33, 2, 17, 60, 8)
installed = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None,
    reason="needs the engine: pip install 'takt-lpu[host]'",
)


def tiny(**changes: Any) -> ModelShape:
    sizes: dict[str, Any] = {
        "name": "tiny",
        "n_layers": 2,
        "dim": 64,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 16,
        "hidden_dim": 96,
        "vocab_size": 96,
        "max_context": 64,
        "attention_scale": 0.25,
        "windows": (None, None),
        "eos_ids": (),
    }
    return replace(SHAPES["stories260k"], **(sizes | changes))


KINDS = {
    "pairs adjacent": tiny(rope_interleaved=True),
    "pairs in halves": tiny(rope_interleaved=False),
    "biases": tiny(rope_interleaved=False, biases=("attn.q", "attn.k", "attn.v")),
    "head untied": tiny(tied_embeddings=False),
    "large heads": tiny(head_dim=32, attention_scale=32**-0.5),
    "scores scaled": tiny(attention_scale=0.5, rope_interleaved=False),
    "stretched": tiny(rope_scaling=RopeScaling(kind="linear", factor=4.0)),
    "llama3 scaling": tiny(
        rope_theta=5e5, rope_scaling=RopeScaling(kind="llama3", factor=8.0, original_context=32)
    ),
    "q and k normed": tiny(
        rope_interleaved=False, qk_norm=True, architecture="qwen3", attention_scale=0.4
    ),
    "gpt2": tiny(
        n_kv_heads=4,
        norm="layer",
        activation="gelu_tanh",
        gated=False,
        position="learned",
        biases=UNGATED_PARTS,
        attention_scale=0.4,
    ),
}


class _NoText:
    vocab_size = 96


def reread(path: Path) -> Model:
    """The file's model; its vocabulary is one that Takt has no tokenizer for, nor needs."""
    return load_gguf(path, tokenizer=lambda _: _NoText())  # type: ignore[arg-type,return-value]


def request(path: Path, **changes: Any) -> HostRequest:
    usual = {"prompt": IDS, "max_tokens": 12, "context": 64, "threads": 1}
    return HostRequest(path=path, **(usual | changes))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "takt" / "gguf"


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_file_holds_the_model(kind: str, tmp_path: Path) -> None:
    model = random_model(KINDS[kind], 3)
    path = tmp_path / "tiny.gguf"
    assert write_gguf(model, path) == path.stat().st_size
    with reread(path) as found:
        expected, logits = reference_logits(model, IDS), reference_logits(found, IDS)
        assert np.abs(logits - expected).max() < 5e-3 * np.abs(expected).max()
        assert np.allclose(rope_frequencies(found.shape), rope_frequencies(model.shape))
        assert found.shape.tied_embeddings == model.shape.tied_embeddings
    assert list(tmp_path.iterdir()) == [path]


@installed
@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_chooses_what_the_reference_would(kind: str, tmp_path: Path) -> None:
    model = random_model(KINDS[kind], 3)
    write_gguf(model, tmp_path / "tiny.gguf")
    (done,) = run_engine(request(tmp_path / "tiny.gguf")).rounds
    assert (done.n_tokens, done.prompt_tokens, done.stop) == (12, len(IDS), "length")
    logits = reference_logits(model, [*IDS, *done.token_ids])[len(IDS) - 1 : -1]
    # Weights and cache are 16-bit floats there: of two nearly equal tokens either may win, and no other.
    chosen = logits[np.arange(12), list(done.token_ids)]
    assert (logits.max(axis=1) - chosen).max() < 0.01 * np.abs(logits).max()


@installed
def test_the_default_model_goes_on_as_the_reference_does(tmp_path: Path) -> None:
    with load_model() as model:
        write_gguf(model, tmp_path / "default.gguf")
        assert model.tokenizer is not None
        ids = model.tokenizer.encode("def read_file(path):")
        sequence = list(ids)
        for _ in range(16):
            sequence.append(int(reference_logits(model, sequence)[-1].argmax()))
    pieces: list[tuple[int, ...]] = []
    run = run_engine(
        request(tmp_path / "default.gguf", prompt=tuple(ids), max_tokens=16, rounds=2),
        lambda found, _: pieces.append(found),
    )
    assert [r.token_ids for r in run.rounds] == [tuple(sequence[len(ids) :])] * 2
    assert pieces == [(token,) for r in run.rounds for token in r.token_ids]
    for done in run.rounds:
        assert done.prompt_s > 0
        assert done.token_s is not None
        assert done.token_s > 0


@installed
def test_eight_bit_weights_are_those_of_the_file(tmp_path: Path) -> None:
    model = random_model(tiny(), 3)
    write_gguf(model, tmp_path / "tiny.gguf", "q8_0")
    with reread(tmp_path / "tiny.gguf") as found:
        name = "layers.1.ffn.up.weight"
        error = np.abs(found.tensor(name) - model.tensor(name)).max()
        assert 0 < error < np.abs(model.tensor(name)).max() / 240
        logits = reference_logits(found, IDS)[-1]
    (done,) = run_engine(request(tmp_path / "tiny.gguf", max_tokens=1)).rounds
    # The engine rounds what goes into a product to eight bits too.
    assert logits.max() - logits[done.token_ids[0]] < 0.05 * np.abs(logits).max()
    assert done.token_s is None


@installed
def test_a_stop_id_ends_the_round(tmp_path: Path) -> None:
    write_gguf(random_model(tiny(), 3), tmp_path / "tiny.gguf")
    free = run_engine(request(tmp_path / "tiny.gguf")).rounds[0].token_ids
    stop = free[4]
    (done,) = run_engine(request(tmp_path / "tiny.gguf", stop_ids=(stop,))).rounds
    assert done.token_ids == free[: free.index(stop) + 1]
    assert done.stop == "eos"


@installed
@pytest.mark.parametrize("keep", [10, 1000, 20_000])
def test_a_damaged_file_is_an_error_and_not_a_crash(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(random_model(tiny(), 3), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="could not run"):
        run_engine(request(path))


@installed
def test_what_the_engine_refuses_is_an_error(tmp_path: Path) -> None:
    write_gguf(random_model(tiny(), 3), tmp_path / "tiny.gguf")
    with pytest.raises(ModelError, match="invalid tokens"):
        run_engine(request(tmp_path / "tiny.gguf", prompt=(96,)))


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedError) as caught:
        run_engine(request(tmp_path / "none.gguf"))
    assert caught.value.hint == "pip install 'takt-lpu[host]'"
    with pytest.raises(UnsupportedError):
        require_engine()


@pytest.mark.parametrize(("changes", "reason"), [
    ({"activation": "gelu_tanh"}, "activation"),
    ({"norm_place": "both"}, "norms"),
    ({"windows": (None, 8)}, "window"),
    ({"embedding_scale": 8.0}, "scaled embeddings"),
    ({"qk_norm": True, "rope_interleaved": True}, "norms q and k"),
    ({"not_computed": ("a recurrent layer",)}, "a recurrent layer"),
])  # fmt: skip
def test_a_network_that_the_engine_would_compute_otherwise_is_refused(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    model = SimpleNamespace(shape=tiny(**changes))
    with pytest.raises(UnsupportedError, match=reason):
        write_gguf(model, tmp_path / "tiny.gguf")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def with_weight(name: str, value: float) -> Model:
    """The tiny model with one number changed."""
    model = random_model(tiny(), 3)

    def ref(of: str) -> TensorRef:
        tensor = model.tensor(of)
        if of == name:
            tensor = tensor.copy()
            tensor.flat[0] = value
        return TensorRef(dims=tensor.shape, read=lambda: tensor)

    return Model(
        shape=model.shape, tensors={of: ref(of) for of in model.names()}, source=model.source
    )


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError, match="16-bit"):
        write_gguf(with_weight("layers.1.ffn.up.weight", 1e6), tmp_path / "tiny.gguf")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(CapacityError) as caught:
        write_gguf(random_model(tiny(), 3), tmp_path / "tiny.gguf")
    assert caught.value.available == 1000
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_made_once_for_each_model(own_cache: Path, tmp_path: Path) -> None:
    model, weights = random_model(tiny(), 3), tmp_path / "weights.bin"
    weights.write_bytes(b"a")
    first = gguf_of(model, weights, "f16")
    made = first.stat().st_mtime_ns
    assert gguf_of(model, weights, "f16") == first
    assert first.stat().st_mtime_ns == made
    others = {first, gguf_of(model, weights, "q8_0"), gguf_of(model, None, "f16")}
    others.add(gguf_of(with_weight("final.norm.weight", 0.5), weights, "f16"))
    weights.write_bytes(b"ab")
    others.add(gguf_of(model, weights, "f16"))
    assert len(others) == 5
    assert set(own_cache.iterdir()) == others


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write") as caught:
        gguf_of(random_model(tiny(), 3), None, "f16")
    assert "XDG_CACHE_HOME" in (caught.value.hint or "")


def machine(**changes: float) -> HostMachine:
    rates: dict[str, Any] = {
        "threads": 2,
        "working_set_bytes": 1000,
        "read_bytes_per_s": 1e6,
        "matrix_ops_per_s": 1e9,
    }
    return HostMachine(**(rates | changes))


def test_a_prediction_is_bytes_over_rate_and_time_for_layers() -> None:
    shape = tiny(tied_embeddings=False)
    work = work_of(shape, 2 * shape.n_parameters)
    assert work.weight_bytes == 2 * (shape.n_parameters - 96 * 64)  # the looked-up table stays
    assert work.kv_bytes == 2 * 2 * 2 * 32  # two bytes of key and value of 32 numbers in two layers
    found = predict(work, machine(), 1e-6, prompt_tokens=10, tokens=20)
    assert found.weights_s == pytest.approx(work.weight_bytes / 1e6)
    assert found.cache_s == pytest.approx(256 * 20 / 1e6)
    assert found.layers_s == pytest.approx(2e-6)
    assert found.token_s == pytest.approx(found.weights_s + found.cache_s + found.layers_s)
    assert found.prompt_s == pytest.approx(found.weights_s + 2e-6)
    slow = predict(work, machine(matrix_ops_per_s=1e6), 0.0, prompt_tokens=10, tokens=20)
    assert slow.weights_s == pytest.approx(2 * work.weights / 1e6)  # type: ignore[operator]
    assert slow.prompt_s == pytest.approx(2 * work.weights * 10 / 1e6)  # type: ignore[operator]


def test_without_a_shape_only_the_bytes_are_known() -> None:
    found = predict(work_of(None, 5000), machine(), 1e-6, prompt_tokens=10, tokens=20)
    assert found.prompt_s is None
    assert found.token_s == pytest.approx(5000 / 1e6)
    assert found.basis == ("measured: read rate", "roofline")


def test_the_machine_is_measured_and_not_remembered() -> None:
    found = measure_machine(1 << 20, 1)
    # Rates of a machine that can run Python at all, in bytes and operations a second.
    assert 1e7 < found.read_bytes_per_s < 1e14
    assert 1e7 < found.matrix_ops_per_s < 1e16
    assert measure_machine(1 << 20, 1) != found
    with pytest.raises(UsageError, match="threads"):
        measure_machine(1 << 20, 0)


@installed
def test_the_engine_has_a_time_a_layer_and_leaves_no_file(own_cache: Path) -> None:
    assert 0 < layer_time_s(1) < 1
    assert not own_cache.exists()


@installed
def test_the_child_is_gone_when_the_caller_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(random_model(tiny(), 3), tmp_path / "tiny.gguf")
    real, children = subprocess.Popen, []

    def start(*arguments: Any, **options: Any) -> Any:
        children.append(real(*arguments, **options))
        return children[-1]

    def refuse(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        run_engine(request(tmp_path / "tiny.gguf", rounds=1000), refuse)
    (child,) = children
    assert child.returncode is not None
