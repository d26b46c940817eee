"""What steps cost on LPUs: the shipped schedules are those of today's compiler, and what is derived from them is right."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_system
from takt.errors import (
    CapacityError,
    DataError,
    ModelError,
    TaktError,
    UnsupportedError,
    UsageError,
)  # fmt: skip
from takt.models import SHAPES
from takt.models.outlines import outline_of
from takt.perf.lpu import (
    LpuDeployment,
    LpuStepModel,
    lpu_assumptions,
    lpu_chips,
    lpu_curve,
    lpu_models,
    lpu_step_cost,
)
from takt.perf.lpu_exact import exact_row
from takt.perf.lpu_pace import EXACT, INTERPOLATED, interpolation_error
from takt.perf.lpu_sizes import size_law
from takt.perf.lpu_table import load_rows, machine_digest, sizes_digest, write_rows

SYSTEMS = ("groqrack-v1", "lpx-rack")
ROWS = load_rows()


def row_named(model: str, system: str, context: int = 2048, users: int = 1):
    found = [
        row
        for row in ROWS
        if model in row.models and (row.system, row.context, row.users) == (system, context, users)
    ]
    return min(found, key=lambda row: row.chips)


# ------------------------------------------------------------------------------------------------------------ the table
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_table_has_the_models_that_are_asked_for_most(system: str) -> None:
    wanted = {"llama-3.1-8b", "llama-3.3-70b", "gpt-oss-20b", "mixtral-8x7b", "qwen3-8b"}
    assert wanted <= set(lpu_models(system))


def test_no_row_is_stale() -> None:
    machines = {name: machine_digest(load_system(name)) for name in SYSTEMS}
    for row in ROWS:
        assert row.machine == machines[row.system], row.key
        for name in row.models:
            assert row.sizes == sizes_digest(SHAPES[name]), name


def test_rows_keep_to_their_bounds_and_grow_with_the_context() -> None:
    for row in ROWS:
        assert all(s >= b for s, b in zip(row.step_cycles, row.bound_cycles, strict=True)), row.key
        assert all(i <= s for s, i in zip(row.step_cycles, row.interval_cycles, strict=True))
        assert list(row.positions) == sorted(set(row.positions))
        assert row.bound_cycles[0] <= row.bound_cycles[-1]
        assert row.step_cycles[0] <= row.step_cycles[-1]
        assert row.active_j[0] <= row.active_j[-1]
        assert row.max_users == 0 or row.max_users >= row.users
        assert 0 <= row.ffn_cycles < row.step_cycles[-1]
        assert row.stages * row.group <= row.chips


@pytest.mark.parametrize(
    ("model", "system"), [("llama-3.2-1b", "groqrack-v1"), ("llama-3.2-1b", "lpx-rack")]
)
def test_a_row_is_what_the_compiler_makes_today(model: str, system: str) -> None:
    _assert_recompiles(model, system)


@pytest.mark.slow
def test_a_row_of_a_rack_is_what_the_compiler_makes_today() -> None:
    _assert_recompiles("llama-3.1-8b", "groqrack-v1")


def _assert_recompiles(model: str, system: str) -> None:
    row = row_named(model, system)
    made = exact_row(
        SHAPES[model], load_system(system), n_chips=row.chips, weights=row.weights,
        context=row.context, users=row.users, positions=row.positions[-1:],
    )  # fmt: skip
    assert made.group == row.group
    assert made.step_cycles[-1] == row.step_cycles[-1]
    assert made.bound_cycles[-1] == row.bound_cycles[-1]
    assert made.interval_cycles[-1] == row.interval_cycles[-1]
    assert made.active_j[-1] == row.active_j[-1]
    assert made.ffn_cycles == row.ffn_cycles


def test_a_table_is_read_as_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.jsonl", reversed(ROWS[:5]))
    assert load_rows(tmp_path / "t.jsonl") == tuple(sorted(ROWS[:5], key=lambda row: row.key))


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"models": 3}\n')
    with pytest.raises(DataError, match=r"t\.jsonl"):
        load_rows(tmp_path / "t.jsonl")
    with pytest.raises(DataError, match="cannot read"):
        load_rows(tmp_path / "none.jsonl")


# --------------------------------------------------------------------------------------------------------------- decode
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_user_waits_for_the_step_or_for_all_others(system: str) -> None:
    row = row_named("llama-3.3-70b", system, users=16)
    chip = load_system(system).chip
    users = np.arange(1, row.max_users + 1)
    deployment = LpuDeployment(system=system, n_chips=row.chips, with_host=False)
    made = lpu_step_cost("llama-3.3-70b", deployment, "decode", users, 2047)
    expected = np.maximum(row.step_cycles[-1], users * row.interval_cycles[-1]) / chip.clock_hz
    np.testing.assert_allclose(made.time_s, expected, rtol=1e-12)
    idle = chip.energy.idle_w * row.chips * expected
    np.testing.assert_allclose(made.energy_j, users * row.active_j[-1] + idle, rtol=1e-12)
    assert EXACT in made.basis
    assert made.error == 0


def test_the_host_adds_its_round_trip_to_one_user_and_nothing_to_a_full_pipeline() -> None:
    row = row_named("llama-3.1-8b", "lpx-rack", users=16)
    system = load_system("lpx-rack")
    deployment = LpuDeployment(system="lpx-rack", n_chips=row.chips)
    bare = LpuDeployment(system="lpx-rack", n_chips=row.chips, with_host=False)
    one = lpu_step_cost("llama-3.1-8b", deployment, "decode", 1, 2047).time_s
    alone = lpu_step_cost("llama-3.1-8b", bare, "decode", 1, 2047).time_s
    host = 2 * system.host.latency_ns * 1e-9 + 4 * row.vocab_size / system.host.bytes_per_s
    assert one - alone == pytest.approx(host)
    users = np.array([row.max_users])
    full = row.max_users * row.interval_cycles[-1] / system.chip.clock_hz
    if full > one:
        assert lpu_step_cost("llama-3.1-8b", deployment, "decode", users, 2047).time_s == full


def test_between_compiled_positions_a_step_lies_between_theirs() -> None:
    row = row_named("llama-3.3-70b", "groqrack-v1")
    between = np.arange(row.positions[0], row.positions[-1], 97)
    made = lpu_step_cost("llama-3.3-70b", LpuDeployment(with_host=False), "decode", 1, between)
    hz = load_system("groqrack-v1").chip.clock_hz
    assert np.all(made.time_s * hz >= min(row.step_cycles) - 1e-6)
    assert np.all(made.time_s * hz <= max(row.step_cycles) + 1e-6)
    assert np.all(np.diff(made.time_s) >= 0)
    assert INTERPOLATED in made.basis
    assert 0 < made.error == interpolation_error()[0] < 0.02


def test_left_out_positions_are_near_the_line() -> None:
    median, largest = interpolation_error()
    assert median < 0.02
    assert largest < 0.10


def test_more_users_than_a_pipeline_holds_get_copies_of_it() -> None:
    few = LpuStepModel.of("llama-3.1-8b", LpuDeployment(), users=1)
    many = LpuStepModel.of("llama-3.1-8b", LpuDeployment(), users=1000)
    assert many.copies * many.pace.max_users >= 1000
    assert many.n_chips == many.copies * many.pace.chips > few.n_chips
    assert lpu_chips("llama-3.1-8b", "groqrack-v1", users=1000) == many.n_chips
    each = many.decode(1000, 100).time_s
    assert each == many.decode(-(-1000 // many.copies) * many.copies, 100).time_s


@given(users=st.lists(st.integers(1, 300), min_size=2, max_size=6))
def test_fewer_users_never_wait_longer(users: list[int]) -> None:
    steps = LpuStepModel.of("gpt-oss-20b", LpuDeployment(system="lpx-rack"), users=300)
    made = steps.decode(np.sort(np.array(users, np.float64)), 1000.0)
    assert np.all(np.diff(made.time_s) >= 0)
    assert np.all(np.diff(made.energy_j) >= 0)


def test_batches_and_contexts_broadcast() -> None:
    made = lpu_step_cost(
        "llama-3.1-8b", LpuDeployment(), "decode", np.array([[1], [2], [3]]), np.array([10, 500])
    )
    assert made.time_s.shape == made.energy_j.shape == (3, 2)


def test_chips_beyond_the_schedule_only_idle() -> None:
    row = row_named("llama-3.1-8b", "groqrack-v1")
    exact = LpuDeployment(n_chips=row.chips)
    wider = LpuDeployment(n_chips=row.chips + 7)
    a, b = (lpu_step_cost("llama-3.1-8b", each, "decode", 1, 2047) for each in (exact, wider))
    assert a.time_s == b.time_s
    idle_w = load_system("groqrack-v1").chip.energy.idle_w
    assert b.energy_j - a.energy_j == pytest.approx(7 * idle_w * float(a.time_s))


# --------------------------------------------------------------------------------------------------------------- prompt
@pytest.mark.parametrize(("texts", "new", "before"), [(1, 1, 0), (1, 700, 0), (3, 300, 1000)])
def test_a_prompt_is_its_tokens_an_interval_apart(texts: int, new: int, before: int) -> None:
    deployment = LpuDeployment(system="lpx-rack", with_host=False)
    steps = LpuStepModel.of("qwen3-8b", deployment, users=texts)
    made = steps.prompt(texts, new, before)
    positions = np.arange(before, before + new, dtype=np.float64)
    intervals = steps.pace.interval_s(positions)
    last = steps.pace.step_s(positions[-1:])[0]
    waits = -(-texts // steps.copies) * intervals.sum() - intervals[-1]
    assert float(made.time_s) == pytest.approx(last + waits, rel=1e-9)
    active = texts * steps.pace.active_j(positions).sum()
    idle = steps.pace.idle_w * steps.n_chips * made.time_s
    assert float(made.energy_j) == pytest.approx(active + float(idle), rel=1e-9)


def test_a_prompt_of_one_token_is_a_step() -> None:
    deployment = LpuDeployment(with_host=False)
    prompt = lpu_step_cost("llama-3.1-8b", deployment, "prompt", 1, 100, new_tokens=1)
    step = lpu_step_cost("llama-3.1-8b", deployment, "decode", 1, 100)
    assert float(prompt.time_s) == pytest.approx(float(step.time_s))


# ------------------------------------------------------------------------------------------------------- without a row
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_model_that_is_not_compiled_is_judged_by_its_size_and_says_so(system: str) -> None:
    made = lpu_step_cost("gemma-3-27b", LpuDeployment(system=system), "decode", 1, 1000)
    assert any(each.startswith("fitted: cycles from sizes") for each in made.basis)
    law = size_law(system, load_system(system).chip.id)
    assert made.error == max(law.step_error, law.chips_error) > 0.02
    small = lpu_step_cost("qwen3-8b", LpuDeployment(system=system), "decode", 1, 1000)
    assert made.time_s > small.time_s
    assert lpu_chips("gemma-3-27b", system) > lpu_chips("qwen3-8b", system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_models_left_out_of_the_fit_are_met_within_a_quarter(system: str) -> None:
    law = size_law(system, load_system(system).chip.id)
    assert law.step_error < 0.25
    assert law.chips_error < 0.25
    assert 1.5 < law.bound_ratio < 3


@pytest.mark.parametrize("system", SYSTEMS)
def test_contexts_beyond_the_table_are_known_no_better_than_left_out_ones(system: str) -> None:
    law = size_law(system, load_system(system).chip.id)
    assert 0 < law.context_error < 1
    far = LpuDeployment(system=system, context_tokens=2 * law.longest_context)
    made = lpu_step_cost("llama-3.1-8b", far, "decode", 1, 2 * law.longest_context - 1)
    assert made.error >= law.context_error
    assert any(each.startswith("fitted") for each in made.basis)
    near = lpu_step_cost("llama-3.1-8b", LpuDeployment(system=system), "decode", 1, 2047)
    assert made.time_s > near.time_s


def test_other_sizes_under_a_known_name_are_not_answered_from_the_table() -> None:
    outline = outline_of("llama-3.1-8b")
    same = lpu_step_cost(outline, LpuDeployment(), "decode", 1, 2047)
    assert EXACT in same.basis
    wider = type(outline)(
        name=outline.name, dim=2 * outline.dim, vocab_size=outline.vocab_size, groups=outline.groups
    )
    assert EXACT not in lpu_step_cost(wider, LpuDeployment(), "decode", 1, 2047).basis


def test_exact_compiles_on_the_spot() -> None:
    row = row_named("llama-3.2-1b", "groqrack-v1")
    deployment = LpuDeployment(n_chips=row.chips, with_host=False)
    tabled = lpu_step_cost("llama-3.2-1b", deployment, "decode", 1, 2047)
    made = lpu_step_cost("llama-3.2-1b", deployment, "decode", 1, 2047, exact=True)
    assert made.time_s == tabled.time_s
    assert made.energy_j == pytest.approx(tabled.energy_j)
    assert EXACT in made.basis


# --------------------------------------------------------------------------------------------------------------- curve
@pytest.mark.parametrize("system", SYSTEMS)
def test_along_a_curve_all_users_gain_what_each_of_them_loses(system: str) -> None:
    points = lpu_curve("llama-3.3-70b", system)
    assert {point.users for point in points} >= {1, 2, 16}
    for a, b in itertools.pairwise(points):
        if a.chips == b.chips and a.users < b.users:
            assert b.tokens_per_s_user <= a.tokens_per_s_user
            assert b.tokens_per_s >= a.tokens_per_s
            assert b.j_per_token <= a.j_per_token
    for point in points:
        assert point.tokens_per_s == pytest.approx(point.users * point.tokens_per_s_user)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_assumed_is_counted_and_listed(system: str) -> None:
    facts = lpu_assumptions(system)
    timing = [fact for fact in facts if not fact.key.startswith("energy.")]
    assert 0 < len(timing) < len(facts)
    made = lpu_step_cost("llama-3.1-8b", LpuDeployment(system=system), "decode", 1, 100)
    chip = load_system(system).chip.id
    assert f"assumed: {len(timing)} facts of {chip} and its wiring" in made.basis
    assert f"assumed: energy of {chip}" in made.basis


# -------------------------------------------------------------------------------------------------------------- errors
def hint_of(
    kind: type[TaktError], deployment: LpuDeployment, *, model: str = "llama-3.1-8b", phase: str = "decode", context: int = 1
) -> str:  # fmt: skip
    with pytest.raises(kind) as found:
        lpu_step_cost(model, deployment, phase, 1, context)  # type: ignore[arg-type]
    return found.value.hint or ""


def test_errors_say_what_would_do() -> None:
    assert "groqrack-v1" in hint_of(UsageError, LpuDeployment(system="groqrak-v1"))
    assert "decode" in hint_of(UsageError, LpuDeployment(), phase="decod")
    assert "llama-3.1-8b" in hint_of(ModelError, LpuDeployment(), model="lama-3.1-8b")
    assert "context_tokens" in hint_of(UsageError, LpuDeployment(), context=4000)
    with pytest.raises(UsageError) as wrong:
        LpuDeployment(weights="int7")
    assert "int8" in (wrong.value.hint or "")
    with pytest.raises(UsageError, match="finite"):
        LpuStepModel.of("llama-3.1-8b", LpuDeployment()).decode(1, float("nan"))
    assert "10,440" in hint_of(UsageError, LpuDeployment(n_chips=20_000))
    with pytest.raises(CapacityError) as found:
        lpu_step_cost("llama-3.3-70b", LpuDeployment(n_chips=496), "decode", 500, 1)
    assert found.value.needed == lpu_chips("llama-3.3-70b", "groqrack-v1", users=500)


def test_a_system_with_other_facts_is_not_answered_from_the_table(tmp_path: Path) -> None:
    file = tmp_path / "groqrack-v1.toml"
    file.write_text('base = "groqrack-v1"\nchip = "lpu-v1"\n[hall]\nextra_ns = 500\n')
    far = LpuDeployment(system=str(file))
    made = lpu_step_cost("llama-3.1-8b", far, "decode", 1, 1)
    assert EXACT not in made.basis
    assert any("whose facts are others" in each for each in made.basis)
    assert made.error > 0.02


def test_a_system_without_rows_is_judged_by_its_chip() -> None:
    made = lpu_step_cost("llama-3.1-8b", LpuDeployment(system="lpx-halves"), "decode", 1, 1)
    (basis,) = (each for each in made.basis if each.startswith("fitted"))
    assert "schedules of lpx-rack" in basis
    assert "whose facts are others" in basis


def test_a_chip_without_rows_needs_a_compilation(tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text('base = "lpu-v1"\n[core]\nclock_hz = 1_000_000_000\n')
    (tmp_path / "mine.toml").write_text('base = "groqrack-v1"\nchip = "chip.toml"\n')
    with pytest.raises(UnsupportedError) as found:
        lpu_step_cost(
            "llama-3.1-8b", LpuDeployment(system=str(tmp_path / "mine.toml")), "decode", 1, 1
        )
    assert "exact=True" in (found.value.hint or "")
