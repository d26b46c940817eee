"""`takt run`: its text, its figures, its mistakes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.chips import load_chip, load_system
from takt.cli import common
from takt.lpu import Session, compile_model, energy
from takt.lpu.system import SystemSession, compile_system
from takt.models import load_model, random_model

from .conftest import TINY, Documented, Letters, Takt

Document = Callable[..., dict[str, Any]]
PROMPT = "Hi"


def greedy(n_tokens: int) -> tuple[list[int], list[int], float]:
    """Tokens, cycles and mean energy of a plain loop over the session."""
    session = Session(compile_model(random_model(TINY), load_chip("lpu-v1")))
    result = session.prompt(Letters().encode(PROMPT))[-1]
    tokens: list[int] = []
    cycles: list[int] = []
    joules = 0.0
    while True:
        tokens.append(int(np.argmax(result.logits)))
        cycles.append(result.cycles)
        joules += energy(result.activity, result.cycles, session.compiled.chip).total_j
        if len(tokens) == n_tokens:
            return tokens, cycles, joules / n_tokens
        result = session.step(tokens[-1])


def test_the_object_holds_what_a_plain_loop_finds(document: Document) -> None:
    found = document("run", "tiny", PROMPT, "--max-tokens", 6)
    tokens, cycles, joules = greedy(6)
    assert found["token_ids"] == tokens
    assert found["text"] == Letters().decode(tokens)
    assert found["cycles"] == cycles
    assert found["cycles_per_token"] == pytest.approx(sum(cycles) / 6)
    assert found["tokens_per_s"] == pytest.approx(900e6 / found["cycles_per_token"])
    assert found["energy_j_per_token"] == pytest.approx(joules)
    assert sum(found["energy_parts_j"].values()) == pytest.approx(joules)


def test_the_object_accounts_for_every_cycle(document: Document) -> None:
    found = document("run", "tiny", PROMPT, "--max-tokens", 3)
    assert found["stop"] == "length"
    assert found["prompt_tokens"] == len(PROMPT)
    assert found["prompt_cycles"] >= found["cycles"][0]
    assert found["prompt_s"] == pytest.approx(found["prompt_cycles"] / 900e6)
    assert 0 < found["bound_cycles_per_token"] <= found["cycles_per_token"]
    assert found["bound_limit"] in found["resource_cycles"]
    assert max(found["resource_cycles"].values()) == found["bound_cycles_per_token"]
    assert sum(layer["cycles"] for layer in found["by_layer"]) == found["program_cycles"]
    assert [layer["name"] for layer in found["by_layer"]] == ["embed", "0", "head", "retire"]
    assert sum(found["by_stage"].values()) == found["program_cycles"]
    assert sum(use["n_queues"] for use in found["by_unit"].values()) == 144
    assert found["sram_used_fraction"] == pytest.approx(found["sram_bytes"] / 230_686_720)
    for key in ("host_tokens_per_s", "host_cycles_per_s", "compile_s"):
        assert found[key] > 0


def test_both_engines_give_the_same_tokens_and_cycles(document: Document) -> None:
    fast = document("run", "tiny", PROMPT, "--max-tokens", 2)
    slow = document("run", "tiny", PROMPT, "--max-tokens", 2, "--engine", "reference")
    timed = {"host_tokens_per_s", "host_cycles_per_s", "compile_s", "engine"}
    assert {k: v for k, v in fast.items() if k not in timed} == {
        k: v for k, v in slow.items() if k not in timed
    }


def test_stdout_is_the_text_then_the_figures_and_the_same_bytes_each_time(takt: Takt) -> None:
    status, out, err = takt("run", "tiny", PROMPT, "--max-tokens", 4)
    assert status == 0
    text = Letters().decode(greedy(4)[0])
    assert out.startswith(f"{text}\n\ntiny, fp16 weights, on lpu-v1 at 900 MHz, fast engine")
    for line in (
        "speed ",
        "bound ",
        "energy ",
        "SRAM ",
        "prompt ",
        "Layer by layer",
        "Unit by unit",
    ):
        assert f"\n{line}" in out
    assert "tokens/s" in err
    assert takt("run", "tiny", PROMPT, "--max-tokens", 4)[1] == out


def test_quiet_prints_the_text_alone(takt: Takt) -> None:
    _, out, err = takt("run", "tiny", PROMPT, "--max-tokens", 4, "--quiet")
    assert (out, err) == (Letters().decode(greedy(4)[0]) + "\n", "")


def test_a_seed_fixes_sampled_text(document: Document) -> None:
    def ids(seed: int) -> list[int]:
        options = ("--temperature", 3, "--top-k", 50, "--top-p", 0.95, "--seed", seed)
        found: list[int] = document("run", "tiny", PROMPT, "--max-tokens", 8, *options)["token_ids"]
        return found

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_a_model_without_a_tokenizer_takes_ids(document: Document) -> None:
    with_text = document("run", "tiny", PROMPT, "--max-tokens", 3)
    ids = " ".join(map(str, Letters().encode(PROMPT)))
    found = document("run", "ids", ids, "--max-tokens", 3)
    assert found["token_ids"] == with_text["token_ids"]
    assert found["text"] == " ".join(map(str, found["token_ids"]))


def test_an_end_token_ends_the_text_unless_told_otherwise(takt: Takt, ends: int) -> None:
    _, out, _ = takt("run", "ending", PROMPT, "--max-tokens", 3, "--json")
    found = json.loads(out)
    assert (found["stop"], found["token_ids"], found["text"]) == ("eos", [ends], "")
    assert len(found["cycles"]) == 1
    _, out, _ = takt("run", "ending", PROMPT, "--max-tokens", 3, "--stop", "never", "--json")
    assert len(json.loads(out)["token_ids"]) == 3


@pytest.fixture
def ends(takt: Takt, monkeypatch: pytest.MonkeyPatch) -> int:
    """The token that ends the text of the model `ending`: the first one it says."""
    token = greedy(1)[0][0]
    model = random_model(replace(TINY, eos_ids=(token,)), tokenizer=Letters())
    load = common.load_model
    monkeypatch.setattr(
        common, "load_model", lambda name, **rest: model if name == "ending" else load(name, **rest)
    )
    return token


def test_a_full_context_ends_the_text(document: Document) -> None:
    found = document("run", "tiny", PROMPT, "--context", 4)
    assert (found["stop"], len(found["token_ids"]), found["context"]) == ("context", 3, 4)


def test_a_faster_clock_changes_the_rate_alone(document: Document, tmp_path: Path) -> None:
    (tmp_path / "fast.toml").write_text('base = "lpu-v1"\n[core]\nclock_hz = 1e9\n')
    slow = document("run", "tiny", PROMPT, "--max-tokens", 2)
    fast = document("run", "tiny", PROMPT, "--max-tokens", 2, "--chip", tmp_path / "fast.toml")
    assert fast["cycles"] == slow["cycles"]
    assert fast["tokens_per_s"] == pytest.approx(slow["tokens_per_s"] / 0.9)


def test_int8_weights_run(document: Document) -> None:
    found = document("run", "tiny", PROMPT, "--max-tokens", 2, "--weights", "int8")
    assert (found["weights"], len(found["cycles"])) == ("int8", 2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a", "b", "c"), "expected [MODEL] PROMPT"),
        (("tinny", PROMPT), "there is no model 'tinny'"),
        (("bert", PROMPT), "tiny-bert is an encoder"),
        (("tiny", ""), "the prompt has no tokens"),
        (("tiny", "x" * 500), "the prompt has 500 tokens, the context 400"),
        (("tiny", PROMPT, "--context", "9999"), "context 9999"),
        (("tiny", PROMPT, "--chip", "lpu-v9"), "lpu-v9"),
        (("tiny", PROMPT, "--weights", "fp4"), "weights 'fp4'"),
        (("tiny", PROMPT, "--engine", "quick"), "--engine 'quick'"),
        (("tiny", PROMPT, "--stop", "soon"), "--stop 'soon'"),
        (("tiny", PROMPT, "--max-tokens", "0"), "--max-tokens 0"),
        (("tiny", PROMPT, "--temperature", "-1"), "temperature -1"),
        (("default", PROMPT, "--tokenizer", "no.json"), "there is no tokenizer file no.json"),
        (("ids", "hello"), "has no tokenizer"),
        (("ids", "1 96"), "token 96 is outside"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("run", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert complaint in err


def test_a_real_checkpoint_tells_a_story(shared: Path, takt: Takt) -> None:
    model = shared / "weights" / "stories260K" / "stories260K.bin"
    _, out, _ = takt("run", model, "Once upon a time", "--max-tokens", 12, "--quiet")
    assert out == ", there was a little girl named Lily. She\n"


def test_without_a_model_the_default_one_runs(document: Document) -> None:
    found = document("run", "import os", "--max-tokens", 3)
    assert found["model"] == load_model("default").shape.name
    assert len(found["token_ids"]) == 3


def test_the_document_lists_exactly_the_keys(document: Document, documented: Documented) -> None:
    assert documented("run") == set(document("run", "tiny", PROMPT, "--max-tokens", 1))


def test_a_model_cut_over_chips_says_what_the_session_of_the_system_says(
    document: Document,
) -> None:
    found = document(
        "run", "tiny", PROMPT, "--system", "groqnode-v1", "--group", 4, "--max-tokens", 3
    )
    model = random_model(TINY)
    compiled = compile_system(
        TINY,
        load_system("groqnode-v1"),
        n_chips=8,
        weights="fp16",
        context=TINY.max_context,
        group=4,
    )
    session = SystemSession(compiled, model)
    ids = Letters().encode(PROMPT)
    logits = [session.step(token).logits for token in ids][-1]
    tokens = []
    for _ in range(3):
        tokens.append(int(np.argmax(logits)))
        logits = session.step(tokens[-1]).logits
    assert found["token_ids"] == tokens
    assert found["group_chips"] == 4
    assert len(found["cycles"]) == 3
    assert found["link_bytes_per_token"] > 0


def test_options_of_systems_need_a_system(takt: Takt) -> None:
    status, _, errors = takt("run", "tiny", PROMPT, "--chips", 8)
    assert status == 2
    assert "--system" in errors
