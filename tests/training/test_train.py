"""The training script on a text of a few kilobytes: what it keeps, learns, saves and exports."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

TINY = [
    *("--vocab-size=320", "--dim=64", "--n-layers=2", "--n-heads=4", "--n-kv-heads=2"),
    *("--hidden-dim=64", "--context-tokens=32", "--batch=4", "--warmup-steps=2"),
    *("--held-out=0.2", "--seed=3"),
]


def source(name: str) -> str:
    return "".join(
        f"def {name}_{i}(path):\n    with open(path) as file:\n        return file.read({i})\n\n"
        for i in range(30)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five files to learn from, and some that must be left out."""
    root = tmp_path / "lib"
    (root / "test").mkdir(parents=True)
    (root / "pack" / "tests").mkdir(parents=True)
    for name in ("alpha", "beta", "gamma", "delta"):
        (root / f"{name}.py").write_text(source(name))
    (root / "pack" / "epsilon.py").write_text(source("epsilon"))
    (root / "test" / "test_alpha.py").write_text(source("no"))
    (root / "pack" / "tests" / "helper.py").write_text(source("no"))
    (root / "_sysconfigdata__linux.py").write_text("build_time_vars = {}\n")
    (root / "notes.txt").write_text("not code")
    return root


@pytest.fixture
def options(train: ModuleType):
    return train.Options(
        vocab_size=320,
        dim=64,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        hidden_dim=64,
        context_tokens=32,
        batch=4,
        warmup_steps=2,
        steps=6,
        seed=3,
    )


def fresh_run(train: ModuleType, options):
    import torch

    torch.manual_seed(options.seed)
    model = train.Decoder(options)
    return train.Run(model=model, optimizer=train.make_optimizer(model, options))


def stream(train: ModuleType, folder: Path, options):
    texts = train.read_corpus(folder, 0.2, options.seed).train
    return train.encode(train.train_tokenizer(texts, options.vocab_size), texts)


def test_corpus_leaves_out_tests_and_generated_files(train, folder) -> None:
    names = [path.relative_to(folder).as_posix() for path in train.source_files(folder)]
    assert names == ["alpha.py", "beta.py", "delta.py", "gamma.py", "pack/epsilon.py"]


def test_no_held_out_file_is_trained_on(train, folder) -> None:
    corpus = train.read_corpus(folder, 0.2, seed=3)
    assert (len(corpus.train), len(corpus.held_out)) == (4, 1)
    assert not set(corpus.train) & set(corpus.held_out)
    assert corpus.held_out_names == train.read_corpus(folder, 0.2, seed=3).held_out_names


def test_an_epoch_sees_every_window_once_and_targets_are_one_ahead(train, options) -> None:
    import torch

    text = torch.arange(32 * 41)
    n_steps = ((len(text) - 1 - 32) // 32) // options.batch
    seen = []
    for step in range(n_steps):
        inputs, targets = train.batch_at(text, step, options)
        assert inputs.shape == (4, 32)
        assert torch.equal(targets, inputs + 1)
        seen += inputs.flatten().tolist()
    assert len(seen) == len(set(seen)) == n_steps * 4 * 32


def test_learning_rate_warms_up_and_ends_at_a_fiftieth(train, options) -> None:
    rates = [train.learning_rate(step, step / 6, options) for step in range(7)]
    assert rates[0] < rates[1]
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(options.peak_lr / 50)


def test_the_script_trains_exports_and_reports(train, folder, tmp_path, capsys) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    where = ["--source", str(folder), "--out", str(out), "--work", str(work)]
    train.main([*TINY, *where, "--steps", "3", "--eval-every", "2"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["step"] == 3
    assert figures["train_tokens"] == 3 * 4 * 32
    assert 0 < figures["held_out_nats_per_token"] < 6.5  # a uniform guess is ln 320 = 5.77
    names = {"config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in out.iterdir()} == names
    assert (work / "checkpoint.pt").exists()


def test_loss_falls(train, folder, options) -> None:
    run, text = fresh_run(train, options), stream(train, folder, options)
    before = train.evaluate(run.model, text, options)
    for _ in range(6):
        train.train_one_step(run, text, options)
    assert train.evaluate(run.model, text, options) < before - 0.05


def test_a_resumed_run_ends_with_the_same_weights(train, folder, options, tmp_path) -> None:
    import torch

    text = stream(train, folder, options)
    whole, first, second = (fresh_run(train, options) for _ in range(3))
    for _ in range(4):
        train.train_one_step(whole, text, options)
    for _ in range(2):
        train.train_one_step(first, text, options)
    first.save(tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        train.train_one_step(second, text, options)
    assert second.step == whole.step == 4
    expected = whole.model.state_dict()
    for name, weight in second.model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_evaluation_weighs_every_token_once(train, options) -> None:
    """A last window shorter than the context counts by its tokens."""
    import torch

    run = fresh_run(train, options)
    text = torch.randint(320, (32 * 5 + 8,), generator=torch.Generator().manual_seed(1))
    pieces = [(low, min(low + 32, len(text) - 1)) for low in range(0, len(text) - 1, 32)]
    with torch.no_grad():
        total = sum(
            float(train.mean_loss(run.model, text[None, a:b], text[None, a + 1 : b + 1], False))
            * (b - a)
            for a, b in pieces
        )
    expected = total / (len(text) - 1)
    assert train.evaluate(run.model, text, options) == pytest.approx(expected, rel=1e-5)


def test_weights_beyond_float16_are_refused(train, options) -> None:
    run = fresh_run(train, options)
    run.model.norm.weight.data[0] = 2e3
    with pytest.raises(SystemExit, match=r"norm\.weight"):
        train.float16_tensors(run.model)


def test_a_run_may_start_from_an_export_with_another_tokenizer(
    train, folder, options, tmp_path
) -> None:
    import torch

    texts = train.read_corpus(folder, 0.2, options.seed).train
    old, new = train.train_tokenizer(texts[:1], 270), train.train_tokenizer(texts, 320)
    run = fresh_run(train, options)
    run.model.embed_tokens = torch.nn.Embedding(old.get_vocab_size(), options.dim)
    train.export(tmp_path, run.model, old, options)
    begun = fresh_run(train, options).model
    begun.embed_tokens = torch.nn.Embedding(new.get_vocab_size(), options.dim)
    train.start_from(tmp_path, begun, new)
    theirs = run.model.embed_tokens.weight.half().float()
    unknown = [i for i in range(320) if old.token_to_id(new.id_to_token(i)) is None]
    assert unknown, "the larger vocabulary must have pieces of its own"
    for index in range(new.get_vocab_size()):
        known = old.token_to_id(new.id_to_token(index))
        spelled = old.encode(new.decode([index])).ids if index in unknown else [known]
        assert torch.equal(begun.embed_tokens.weight[index], theirs[spelled].mean(0))
    layer = "layers.1.mlp.up_proj.weight"
    assert torch.equal(begun.state_dict()[layer], run.model.state_dict()[layer].half().float())


@pytest.mark.slow
def test_the_export_is_what_transformers_calls_a_llama(train, folder, options, tmp_path) -> None:
    import torch

    transformers = pytest.importorskip("transformers", reason="the outside reference")
    texts = train.read_corpus(folder, 0.2, options.seed).train
    tokenizer = train.train_tokenizer(texts, options.vocab_size)
    run = fresh_run(train, options)
    for weight in run.model.parameters():
        weight.data.copy_((weight.data * 4).half().float())
    train.export(tmp_path / "out", run.model, tokenizer, options)
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32
    )
    ids = train.encode(tokenizer, texts)[:32][None]
    with torch.no_grad():
        expected, got = reference(ids).logits, run.model(ids)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
