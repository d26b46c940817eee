"""`takt compile`: what it says of a model's programs, and the file it writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from takt.chips import load_chip
from takt.lpu import compile_model, load_takt
from takt.models import random_model

from .conftest import TINY, Documented, Takt

Document = Callable[..., dict[str, Any]]


def test_there_is_a_program_for_each_block_of_positions(document: Document) -> None:
    found = document("compile", "tiny")
    assert [program["name"] for program in found["programs"]] == ["decode.0", "decode.1"]
    step = compile_model(random_model(TINY), load_chip("lpu-v1")).decode(0)
    expected = {
        "step_cycles": step.program.cycles,
        "bound_cycles": step.bound.cycles,
        "bound_limit": step.bound.limit,
        "instructions": len(step.program.instructions),
        "sram_bytes": step.sram_bytes,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["programs"][0] == {"name": "decode.0", **expected}
    assert (found["context"], found["output"]) == (400, None)


def test_prompts_are_compiled_on_request(document: Document) -> None:
    found = document("compile", "tiny", "--context", 16, "--prompts")
    names = [program["name"] for program in found["programs"]]
    assert names[:2] == ["decode.0", "prompt.0"]


def test_the_file_holds_the_programs_and_their_figures(takt: Takt, tmp_path: Path) -> None:
    path = tmp_path / "tiny.takt"
    status, out, err = takt("compile", "tiny", "-o", path)
    assert status == 0
    assert out.startswith("tiny, fp16 weights, on lpu-v1, context 400\n")
    assert out.endswith(f"\nwritten to {path}\n")
    assert err.startswith("compiled in ")
    file, chip = load_takt(path), load_chip("lpu-v1")
    file.check_chip(chip)
    compiled = compile_model(random_model(TINY), chip)
    for program, position in zip(file.programs, (0, 320), strict=True):
        step = compiled.decode(position)
        assert (program.instructions == step.program.instructions).all()
        assert program.cycles == step.program.cycles
        assert file.metadata[f"{program.name}.bound_cycles"] == step.bound.cycles
    assert (file.metadata["model"], file.metadata["weights"]) == ("tiny", "fp16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.takt"]


def test_the_same_command_writes_the_same_bytes(takt: Takt, tmp_path: Path) -> None:
    for name in ("a.takt", "b.takt"):
        takt("compile", "tiny", "--context", 8, "-o", tmp_path / name)
    assert (tmp_path / "a.takt").read_bytes() == (tmp_path / "b.takt").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tiny", "-o", "no/where.takt"), "there is no directory no"),
        (("tiny", "-o", "/"), "/ is a directory"),
        (("tiny", "--context", "0"), "context 0"),
        (("tiny", "--weights", "fp64"), "weights 'fp64'"),
        (("nothing-here",), "there is no model 'nothing-here'"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("compile", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_a_model_too_large_for_the_chip_says_so(takt: Takt, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 800\n')
    status, _, err = takt("compile", "default", "--chip", tmp_path / "small.toml")
    assert status == 2
    assert "no room" in err


def test_the_document_lists_exactly_the_keys(document: Document, documented: Documented) -> None:
    assert documented("compile") == set(document("compile", "tiny", "--context", 8))
