"""`takt run --on host`: the text, the figures beside it, and mistakes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from takt.models import load_model, random_model, reference_logits
from takt.perf.host import usable_processors, write_gguf

from .conftest import TINY, Documented, Letters, Takt

Document = Callable[..., dict[str, Any]]
installed = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None,
    reason="needs the engine: pip install 'takt-lpu[host]'",
)
CODE = "def read_file(path):"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "takt" / "gguf"


def host(document: Document, model: str, prompt: str, *options: object) -> dict[str, Any]:
    # One thread: several would wait for one another on a busy machine.
    return document("run", model, prompt, "--on", "host", "--threads", 1, *options)


@installed
def test_text_and_tokens_are_those_of_the_lpu(document: Document) -> None:
    here = host(document, "default", CODE, "--max-tokens", 8)
    there = document("run", "default", CODE, "--max-tokens", 8)
    same = ("text", "token_ids", "stop", "prompt", "prompt_tokens", "model")
    assert {key: here[key] for key in same} == {key: there[key] for key in same}


@installed
def test_the_tokens_are_the_references_and_the_file_is_kept(
    document: Document, own_cache: Path
) -> None:
    found = host(document, "tiny", "Hi", "--max-tokens", 4, "--stop", "never")
    sequence = Letters().encode("Hi")
    for _ in range(4):
        sequence.append(int(reference_logits(random_model(TINY), sequence)[-1].argmax()))
    assert found["token_ids"] == sequence[2:]
    assert found["text"] == Letters().decode(sequence[2:])
    assert Path(found["file"]).parent == own_cache
    assert found["file_bytes"] == Path(found["file"]).stat().st_size


@installed
def test_the_document_lists_exactly_the_keys(document: Document, documented: Documented) -> None:
    found = host(document, "tiny", "Hi", "--max-tokens", 2)
    assert documented("run --on host") == set(found)


@installed
def test_figures_agree_with_each_other(document: Document) -> None:
    found = host(document, "tiny", "Hi", "--max-tokens", 6, "--stop", "never")
    predicted, machine = found["predicted"], found["machine"]
    assert found["threads"] == machine["threads"] == 1
    assert found["tokens"] == len(found["token_ids"]) == 6
    assert found["tokens_per_s"] == pytest.approx(1 / found["tpot_s"])
    parts = predicted["weights_s"] + predicted["cache_s"] + predicted["layers_s"]
    assert predicted["token_s"] == pytest.approx(parts)
    assert predicted["layers_s"] == pytest.approx(machine["layer_s"] * TINY.n_layers)
    ratio = found["tpot_s"] / predicted["token_s"]
    assert found["tpot_measured_over_predicted"] == pytest.approx(ratio)
    ratio = found["ttft_s"] / predicted["prompt_s"]
    assert found["ttft_measured_over_predicted"] == pytest.approx(ratio)


@installed
def test_the_text_goes_to_stdout_and_the_times_to_stderr(takt: Takt) -> None:
    options = ("--on", "host", "--threads", 1, "--max-tokens", 2)
    status, out, err = takt("run", "ids", "1 2", *options)
    assert status == 0
    assert len(out.split()) == 2
    assert all(word.isdigit() for word in out.split())
    for words in ("time to first token", "time per output token", "predicted", "tokens/s"):
        assert words in err
    again = takt("run", "ids", "1 2", *options, "--quiet")
    assert again == (0, out, "")


@installed
def test_eight_bit_weights_make_a_smaller_file(document: Document) -> None:
    half = host(document, "default", CODE, "--max-tokens", 1)
    eighth = host(document, "default", CODE, "--max-tokens", 1, "--weights", "int8")
    assert (half["weights"], eighth["weights"]) == ("f16", "q8_0")
    assert 0.5 < eighth["file_bytes"] / half["file_bytes"] < 0.56
    assert eighth["tpot_s"] is None
    assert eighth["tokens_per_s"] is None


@installed
def test_a_gguf_file_is_run_as_it_is(
    document: Document, tmp_path: Path, repository: Path, own_cache: Path
) -> None:
    path = tmp_path / "mine.gguf"
    with load_model() as model:
        write_gguf(model, path)
    tokenizer = repository / "src" / "takt" / "models" / "default" / "tokenizer.json"
    options = ("--max-tokens", 6)
    expected = host(document, "default", CODE, *options)
    found = host(document, str(path), CODE, "--tokenizer", str(tokenizer), *options)
    assert found["text"] == expected["text"]
    assert (found["file"], found["weights"]) == (str(path), "as in the file")
    # Takt knows no tokenizer for the vocabulary of numbers in the file; the engine does.
    ids = "".join(f"[{i}]" for i in model.tokenizer.encode(CODE))  # type: ignore[union-attr]
    alone = host(document, str(path), ids, *options)
    assert alone["token_ids"] == expected["token_ids"]
    assert alone["text"] == "".join(f"[{i}]" for i in expected["token_ids"])
    assert alone["predicted"]["prompt_s"] is None
    assert str(path) not in [str(made) for made in own_cache.iterdir()]


@installed
def test_it_ends_where_the_context_does(document: Document) -> None:
    found = host(document, "tiny", "Hi", "--context", 300, "--max-tokens", 390, "--stop", "never")
    assert found["stop"] == "context"
    assert found["tokens"] == 300 - 2 + 1  # as on the LPU: the last token takes no position


@pytest.mark.parametrize(("options", "complaint"), [
    (("--on", "gpu"), "expected lpu or host"),
    (("--on", "host", "--system", "groqnode-v1"), "--system is about LPUs"),
    (("--on", "host", "--chip", "lpu-v2"), "--chip is about LPUs"),
    (("--on", "host", "--engine", "reference"), "--engine is about LPUs"),
    (("--on", "host", "--temperature", "0.5"), "most likely token"),
    (("--threads", "1"), "add --on host"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], complaint: str, takt: Takt
) -> None:
    status, out, err = takt("run", "tiny", "Hi", *options)
    assert (status, out) == (2, "")
    assert complaint in err


@installed
@pytest.mark.parametrize(("model", "options", "complaint"), [
    ("tinny-model", (), "there is no model"),
    ("bert", (), "is an encoder"),
    ("random:gemma-2-9b", ("--tokenizer", "none.json"), "no tokenizer file"),
    ("tiny", ("--threads", str(usable_processors() + 1)), "--threads"),
    ("tiny", ("--context", "401"), "--context 401"),
    ("tiny", ("--context", "1"), "the prompt has 2 tokens"),
    ("tiny", ("--weights", "fp8"), "expected fp16 or int8"),
])  # fmt: skip
def test_mistakes_are_named(
    model: str, options: tuple[str, ...], complaint: str, takt: Takt
) -> None:
    status, out, err = takt("run", model, "Hi", "--on", "host", *options)
    assert (status, out) == (2, "")
    assert complaint in err


@installed
def test_a_network_without_a_native_form_is_refused_before_anything_is_made(
    takt: Takt, own_cache: Path
) -> None:
    status, _, err = takt("run", "random:gpt-oss-20b", "1 2", "--on", "host")
    assert status == 2
    assert "can't be run natively" in err
    assert "mixture of experts" in err
    assert not own_cache.exists()


def test_without_the_package_the_error_says_what_to_install(
    takt: Takt, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "xllamacpp" else real(name, *rest),
    )
    status, out, err = takt("run", "tiny", "Hi", "--on", "host")
    assert (status, out) == (2, "")
    assert "pip install 'takt-lpu[host]'" in err
