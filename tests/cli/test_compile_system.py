"""`takt compile --system`: figures of a model on many chips, and what it says where one does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from takt.chips import load_system
from takt.lpu.system import Pace, compile_system, host_seconds, speculate, summarise_system
from takt.models import shape_of

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]
SMALL = ("compile", "stories260k", "--system", "groqnode-v1", "--context", 64)
PROMISED = {
    "model", "system", "chips", "tokens_per_s_user", "tokens_per_s_total", "step_cycles", "bound_cycles",
    "energy_j_per_token", "sram_used_fraction", "compile_s",
}  # fmt: skip


def test_the_document_lists_exactly_the_keys(document: Document, documented: Documented) -> None:
    found = document(*SMALL, "--chips", 2)
    assert set(found) == documented("compile --system")
    assert set(found) >= PROMISED


def test_figures_are_those_of_the_compiled_system(document: Document) -> None:
    found = document(*SMALL, "--chips", 4, "--users", 3, "--objective", "throughput")
    made = compile_system(
        shape_of("stories260k"),
        load_system("groqnode-v1"),
        n_chips=4,
        context=64,
        users=3,
        objective="throughput",
    )
    assert found["step_cycles"] == made.step_cycles
    assert found["tokens_per_s_total"] == pytest.approx(made.tokens_per_s_total)
    assert found["energy_j_per_token"] == pytest.approx(summarise_system(made).energy.total_j)
    assert sum(found["energy_parts_j"].values()) == pytest.approx(found["energy_j_per_token"])
    assert (found["users"], found["weights"], found["chips"]) == (3, "int8", 4)
    programs = found["programs"]
    on_the_way = sum(row["cycles"] * row["count"] for row in programs)
    assert on_the_way + found["gap_cycles"] == found["step_cycles"]


def test_the_host_is_beside_the_step_not_in_it(document: Document) -> None:
    found = document(*SMALL, "--chips", 1)
    host = load_system("groqnode-v1").host
    logits_bytes = 4 * shape_of("stories260k").vocab_size
    assert found["host_us"] == pytest.approx(
        2 * host.latency_ns / 1000 + 1e6 * logits_bytes / host.bytes_per_s
    )
    with_host = 1e6 / found["tokens_per_s_user_with_host"]
    assert with_host == pytest.approx(found["step_us"] + found["host_us"])


def test_assumptions_come_with_value_and_source(document: Document) -> None:
    rows = {row["fact"]: row for row in document(*SMALL, "--chips", 2)["assumptions"]}
    assert rows["energy.idle_w"]["value"] == 70
    assert all(row["source"] and row["unit"] for row in rows.values())


def test_without_a_number_a_node_is_taken_or_as_few_chips_as_hold_it(
    document: Document, tmp_path: Path
) -> None:
    assert document(*SMALL)["chips"] == 8
    (tmp_path / "chip.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 2000\n')
    path = tmp_path / "node.toml"
    path.write_text(
        'base = "dragonfly-v1"\nchip = "chip.toml"\n[node]\nchips = 1\nlinks_per_pair = 0\n[hall]\nunits = 5\nneighbours = 4\n'
    )
    arguments = ("compile", "stories15m", "--system", path, "--context", 256, "--group", 1)
    found = document(*arguments)
    assert found["chips"] == found["chips_used"] > 1


def test_the_text_has_figures_then_programs_then_assumptions(takt: Takt) -> None:
    status, out, err = takt(*SMALL, "--chips", 2, "--group", 2)
    assert status == 0
    assert err.startswith("compiled in ")
    assert out.startswith("stories260k, int8 weights, on 2 chips of groqnode-v1 at 900 MHz")
    places = [
        out.index(text)
        for text in ("\nspeed ", "\nbound ", "if assumptions err", "\nnot included ", "\nPROGRAM ", "\nThese figures rest")
    ]  # fmt: skip
    assert places == sorted(places)
    assert takt(*SMALL, "--chips", 2, "--group", 2)[1] == out


def test_a_draft_on_chips_of_its_own(document: Document) -> None:
    found = document(
        *SMALL, "--chips", 2, "--draft", "stories260k", "--draft-chips", 1, "--draft-tokens", 3,
        "--acceptance", 0.7,
    )  # fmt: skip
    shape, system = shape_of("stories260k"), load_system("groqnode-v1")
    large, small = (
        Pace.of(made, host_seconds(made))
        for made in (
            compile_system(shape, system, n_chips=2, context=64),
            compile_system(shape, system, n_chips=1, context=64),
        )
    )
    expected = speculate(large, small, 0.7, 3)
    assert found["speculative"]["tokens_per_s_user"] == pytest.approx(expected.tokens_per_s_user)
    assert (found["speculative"]["draft_chips"], found["speculative"]["own_chips"]) == (1, True)


def test_a_draft_on_the_chips_that_are_free(document: Document) -> None:
    found = document(*SMALL, "--chips", 4, "--group", 1, "--draft", "stories260k", "--acceptance", 0.9)  # fmt: skip
    assert found["speculative"]["draft_chips"] == 4 - found["chips_used"]
    assert found["speculative"]["draft_tokens"] >= 1


@pytest.mark.parametrize(
    ("arguments", "complaint", "hint"),
    [
        (("llama-2-70b", "--system", "groqrack-v1", "--chips", 64), "64 chips of groqrack-v1", "--chips "),
        (("llama-2-70b", "--system", "groqnode-v1"), "does not fit", "--system groqrack-v1 --chips "),
        (("stories260k", "--system", "groqnod-v1"), "groqnod-v1", "did you mean 'groqnode-v1'?"),
        (("lama-2-70b", "--system", "groqnode-v1"), "no model", "did you mean 'llama-2-70b'?"),
        (("stories260k", "--system", "groqnode-v1", "--chips", 9), "no 9 chips", "from 1 to 8"),
        (("stories260k", "--system", "groqnode-v1", "--group", 3), "groups of 3 chips", ""),
        (("stories260k", "--system", "groqnode-v1", "--users", 0), "users 0", ""),
        (("stories260k", "--system", "groqnode-v1", "--objective", "speed"), "objective 'speed'", ""),
        (("stories260k", "--system", "groqnode-v1", "--weights", "int4"), "weights 'int4'", ""),
        (("stories260k", "--system", "groqnode-v1", "--context", 9999), "context 9999", ""),
        (("stories260k", "--system", "groqnode-v1", "-o", "x.takt"), "--output", "--json"),
        (("stories260k", "--system", "groqnode-v1", "--chip", "lp30"), "--chip and --system", ""),
        (("stories260k", "--system", "groqnode-v1", "--prompts"), "--prompts", ""),
        (("stories260k", "--chips", 2), "--chips is about many chips", "--system ID"),
        (("stories260k", "--acceptance", 0.5), "--acceptance is about many chips", "--system ID"),
        (("stories260k", "--system", "groqnode-v1", "--acceptance", 0.5), "--acceptance", "--draft MODEL"),
        (("stories260k", "--system", "groqnode-v1", "--draft", "stories260k"), "needs --acceptance", ""),
        (
            ("stories260k", "--system", "groqnode-v1", "--draft", "stories15m", "--acceptance", 0.5, "--context", 64),
            "32,000 tokens",
            "vocabulary",
        ),
        (
            ("stories260k", "--system", "groqnode-v1", "--draft", "stories260k", "--acceptance", 2),
            "--acceptance 2",
            "",
        ),
        (
            ("stories260k", "--system", "groqnode-v1", "--chips", 1, "--draft", "stories260k", "--acceptance", 0.5, "--context", 64),
            "leaves none for a draft model",
            "--draft-chips",
        ),
        (
            ("stories260k", "--system", "groqnode-v1", "--draft", "llama-2-70b", "--draft-chips", 2, "--acceptance", 0.5),
            "tokens, ",
            "vocabulary",
        ),
        (
            ("stories15m", "--system", "groqnode-v1", "--context", 64, "--draft", "llama-2-70b", "--draft-chips", 2, "--acceptance", 0.5),
            "llama-2-70b (int8, context 64, 1 user) does not fit on 2 chips",
            "--draft-chips ",
        ),
        (("llama-4-scout", "--system", "groqrack-v1", "--chips", 576), "llama-4-scout", ""),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_message(
    takt: Takt, arguments: tuple[object, ...], complaint: str, hint: str
) -> None:
    status, out, err = takt("compile", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
    assert hint in err


def test_what_the_hint_names_fits(takt: Takt, tmp_path: Path) -> None:
    """The number of chips in the hint compiles; one less does not."""
    (tmp_path / "chip.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 2000\n')
    path = tmp_path / "node.toml"
    path.write_text('base = "groqnode-v1"\nchip = "chip.toml"\n')
    arguments = ("compile", "stories15m", "--system", path, "--context", 256, "--group", 1)
    status, _, err = takt(*arguments, "--chips", 1)
    assert status == 2
    chips = int(err.partition("hint: --chips ")[2].split()[0])
    assert takt(*arguments, "--chips", chips)[0] == 0
    assert takt(*arguments, "--chips", chips - 1)[0] == 2
