"""Fitting named effects: planted ones are found, odd rows count less, and nothing leaks out of a fold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.perf.corrections import FAMILIES, SLOPES, Corrections, Situation, slopes

pytest.importorskip("scipy", reason="fits need scipy, the extra 'fit'")
from takt.accuracy.effects import (
    design_of,
    fit_effects,
    folds_of,
    held_out_residuals,
    penalty,
)

BASE = Situation(
    figure="tpot",
    engine="vllm",
    chip="a",
    vendor="v",
    architecture="x",
    model="m",
    kind="dense",
    weights="bf16",
    mode="closed",
    split="tp1pp1dp1ep1",
    layout="one",
    n_chips=1,
)
CHIPS, ENGINES, MODELS = ("a", "b", "c"), ("vllm", "sglang"), ("m", "n", "o", "p")


def measured(n_rows: int, seed: int = 0) -> tuple[list[Situation], np.ndarray]:
    """Rows of random chips, engines, models and loads: (situations, slopes)."""
    random = np.random.default_rng(seed)
    situations = [
        replace(
            BASE,
            chip=str(random.choice(CHIPS)),
            engine=str(random.choice(ENGINES)),
            model=str(random.choice(MODELS)),
        )
        for _ in range(n_rows)
    ]
    users, context = 2 ** random.uniform(0, 10, n_rows), 2 ** random.uniform(7, 15, n_rows)
    ones = np.ones(n_rows)
    return situations, slopes(users, context, ones, ones)


PLANTED = {
    "chip=b": np.asarray([0.4, 0, 0, 0, 0, 0]),
    "engine=sglang": np.asarray([-0.3, 0.15, 0, 0, 0, 0]),
    "model=n": np.asarray([0.2, 0, 0, 0.1, 0, 0]),
}


def planted(situations, factors, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    truth = Corrections(effects=PLANTED)
    logs = [truth.log_factor(s, f) for s, f in zip(situations, factors, strict=True)]
    return np.asarray(logs) + noise * np.random.default_rng(seed).standard_normal(len(logs))


def fitted(situations, factors, target) -> Corrections:
    design = design_of(situations, factors)
    effects = fit_effects(design.matrix, target, design.penalties())
    table = effects.reshape(-1, len(SLOPES))
    return Corrections(effects=dict(zip(design.names, table, strict=True)))


def predicted(corrections: Corrections, situations, factors) -> np.ndarray:
    pairs = zip(situations, factors, strict=True)
    return np.asarray([corrections.log_factor(s, f) for s, f in pairs])


# -- the design -----------------------------------------------------------------------------------


def test_a_row_has_its_slopes_once_for_each_effect_that_applies():
    situations, factors = measured(50)
    design = design_of(situations, factors)
    assert design.matrix.shape == (50, len(design.names) * len(SLOPES))
    dense = design.matrix.toarray().reshape(50, len(design.names), len(SLOPES))
    for row, situation in enumerate(situations):
        applies = {name for _, name in situation.effects()}
        for number, name in enumerate(design.names):
            expected = factors[row] if name in applies else np.zeros(len(SLOPES))
            np.testing.assert_array_equal(dense[row, number], expected)


def test_every_name_has_the_family_it_came_from():
    situations, factors = measured(50)
    design = design_of(situations, factors)
    found = {name: family for s in situations for family, name in s.effects()}
    assert {name: int(f) for name, f in zip(design.names, design.family, strict=True)} == found


def test_penalties_follow_family_and_slope():
    situations, factors = measured(20)
    design = design_of(situations, factors)
    table = design.penalties().reshape(-1, len(SLOPES))
    for row, family in zip(table, design.family, strict=True):
        constant, slope = penalty(FAMILIES[family])
        np.testing.assert_array_equal(row, [constant, *[slope] * (len(SLOPES) - 1)])


@pytest.mark.parametrize("fields", FAMILIES)
def test_no_effect_is_free_and_slopes_are_held_more_strongly(fields):
    constant, slope = penalty(fields)
    assert 0 < constant < slope
    if "figure" not in fields:
        assert penalty((*fields, "figure"))[0] > constant


# -- the fit --------------------------------------------------------------------------------------


def test_planted_effects_are_recovered():
    situations, factors = measured(1500)
    found = fitted(situations, factors, planted(situations, factors, noise=0.05))
    new, their = measured(500, seed=9)
    error = predicted(found, new, their) - planted(new, their)
    assert np.median(np.abs(error)) < 0.01
    assert np.quantile(np.abs(error), 0.99) < 0.05


def test_differences_between_names_are_those_that_were_planted():
    situations, factors = measured(1500)
    found = fitted(situations, factors, planted(situations, factors, noise=0.05))
    middle = slopes(*map(np.asarray, (16.0, 2048.0, 1.0, 1.0)))

    def at(**names):
        return float(found.log_factor(replace(BASE, **names), middle))

    assert at(chip="b") - at() == pytest.approx(0.4, abs=0.04)
    assert at(engine="sglang") - at() == pytest.approx(-0.3, abs=0.04)
    assert at(model="n") - at() == pytest.approx(0.2, abs=0.04)
    assert at(chip="c") - at() == pytest.approx(0.0, abs=0.04)


def test_rows_far_from_the_rest_do_not_move_the_fit():
    situations, factors = measured(1000)
    clean = planted(situations, factors, noise=0.03)
    odd = clean.copy()
    odd[::20] += 3.0  # one in twenty is twenty times too slow
    apart = predicted(fitted(situations, factors, odd), situations, factors)
    apart -= predicted(fitted(situations, factors, clean), situations, factors)
    assert np.median(np.abs(apart)) < 0.03


def test_few_rows_are_held_towards_nothing():
    situations, factors = measured(4)
    target = np.full(4, 0.5)
    few = predicted(fitted(situations, factors, target), situations, factors)
    many = predicted(
        fitted(situations * 50, np.tile(factors, (50, 1)), np.full(200, 0.5)), situations, factors
    )
    assert np.all(np.abs(few) < np.abs(many))
    np.testing.assert_allclose(many, 0.5, atol=0.1)


def test_nothing_to_explain_gives_no_effects():
    situations, factors = measured(40)
    design = design_of(situations, factors)
    np.testing.assert_allclose(fit_effects(design.matrix, np.zeros(40), design.penalties()), 0.0)


def test_the_fit_is_where_its_own_objective_is_least():
    """No single effect can be moved to the better: the gradient of Σ huber + ridge vanishes."""
    situations, factors = measured(300)
    target = planted(situations, factors, noise=0.02)
    design = design_of(situations, factors)
    ridge = design.penalties()
    effects = fit_effects(design.matrix, target, ridge)
    residual = target - design.matrix @ effects
    pull = np.clip(residual, -0.1, 0.1)
    gradient = ridge * effects - design.matrix.T @ pull
    start = design.matrix.T @ np.clip(target, -0.1, 0.1)
    assert np.linalg.norm(gradient) < 0.05 * np.linalg.norm(start)


def test_the_same_rows_give_the_same_effects():
    situations, factors = measured(200)
    target = planted(situations, factors, noise=0.1)
    design = design_of(situations, factors)
    once, twice = (fit_effects(design.matrix, target, design.penalties()) for _ in range(2))
    assert once.tobytes() == twice.tobytes()


# -- folds ----------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=200), st.integers(2, 6))
def test_groups_stay_whole_and_folds_stay_even(groups, n_folds):
    fold = folds_of(groups, n_folds)
    assert len(fold) == len(groups)
    assert set(fold) <= set(range(n_folds))
    of_group = {}
    for group, number in zip(groups, fold, strict=True):
        assert of_group.setdefault(group, number) == number
    sizes = np.bincount(fold, minlength=n_folds)
    largest = max(groups.count(group) for group in set(groups))
    assert sizes.max() <= sizes.min() + largest


def test_folds_do_not_depend_on_the_order_of_rows():
    groups = list("aaabbcdddde")
    ahead = dict(zip(groups, folds_of(groups, 3), strict=True))
    back = dict(zip(groups[::-1], folds_of(groups[::-1], 3), strict=True))
    assert ahead == back


def held_out(target, groups, n_folds=3, n_rows=300):
    situations, factors = measured(n_rows)
    return held_out_residuals(design_of(situations, factors), target, groups, n_folds)


def test_what_was_measured_in_a_fold_does_not_reach_its_own_prediction():
    situations, factors = measured(300)
    groups = [s.model for s in situations]
    target = planted(situations, factors)
    changed = target.copy()
    mine = np.asarray([group == "n" for group in groups])
    changed[mine] += 5.0
    before, after = (t - held_out(t, groups, 4) for t in (target, changed))
    np.testing.assert_allclose(
        before[mine], after[mine], atol=1e-9
    )  # residual = target - prediction
    assert np.max(np.abs(before - after)[~mine]) > 0.01


def test_an_effect_of_one_model_alone_can_not_be_known_without_it():
    situations, _ = measured(300)
    target = np.asarray([1.0 if s.model == "n" else 0.0 for s in situations])
    by_model = held_out(target, [s.model for s in situations], 4)
    by_row = held_out(target, [str(i) for i in range(300)], 5)
    mine = target > 0
    assert np.median(by_model[mine]) > 0.8
    assert np.median(by_row[mine]) < 0.5


def test_a_start_says_nothing_of_names_that_only_the_fold_has():
    situations, factors = measured(300)
    groups = [s.model for s in situations]
    design = design_of(situations, factors)
    start = np.zeros(design.matrix.shape[1])
    start[design.names.index("model=n") * len(SLOPES)] = 100.0
    target = np.zeros(300)
    residual = held_out_residuals(design, target, groups, 4, start)
    mine = np.asarray([group == "n" for group in groups])
    assert np.all(residual[mine] == 0.0)
