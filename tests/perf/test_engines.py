"""Engines as rows of a file: each figure with its kind, names with near misses, overheads in proportion."""

import tomllib
from dataclasses import fields
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import list_accelerators, load_accelerator
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.perf import ENGINES, Deployment, StepModel, engine_of
from takt.perf.engines import Engine

KINDS = ("fitted", "published", "derived", "assumed", "measured")


def rows() -> dict:
    text = files("takt.perf").joinpath("data/engines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def test_the_file_and_the_room_know_the_same_engines():
    assert sorted(rows()) == sorted(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_every_figure_has_a_kind_and_says_where_it_is_from(name):
    figures = {field.name for field in fields(Engine)} - {"name", "basis"}
    assert set(rows()[name]) == figures
    for figure, row in rows()[name].items():
        assert row["kind"] in KINDS, figure
        assert row["note"] or row["source"], figure
        if row["kind"] != "assumed":
            assert row["source"], figure
        if figure == "one_call":
            assert set(row["value"]) <= {chip.architecture for chip in list_accelerators()}
        else:
            assert row["value"] >= 0, figure


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_its_rows(name):
    engine, stated = engine_of(name), rows()[name]
    assert engine.name == name
    for figure, row in stated.items():
        value = frozenset(row["value"]) if figure == "one_call" else row["value"]
        assert getattr(engine, figure) == value
    assert 0 < engine.reserve_fraction < 0.5
    assert 0 <= engine.burst <= 1
    assert {row["kind"] for row in stated.values()} == set(
        engine.basis.partition(":")[0].split("/")
    )


@given(st.sampled_from(ENGINES), st.floats(0, 1000), st.floats(0, 5000))
def test_overheads_are_a_constant_and_shares_of_users_and_kernels(name, users, launches):
    engine = engine_of(name)
    per_user = engine.overhead_s(np.asarray(users), launches) - engine.step_s
    expected = engine.user_s * users + engine.launch_s * launches
    assert per_user == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("typed", "meant"), [("vlm", "vllm"), ("sglan", "sglang"), ("trtlm", "trtllm")]
)
def test_an_unknown_engine_has_a_near_miss(typed, meant):
    with pytest.raises(UsageError, match=f"no engine '{typed}'") as e:
        engine_of(typed)
    assert meant in e.value.hint


def test_an_engine_that_is_like_none_gets_the_list():
    with pytest.raises(UsageError) as e:
        engine_of("zzzz")
    assert all(name in e.value.hint for name in ENGINES)


def test_a_deployment_with_an_unknown_engine_has_no_steps():
    here = Deployment(chip=load_accelerator("h200-sxm"), tp=8, engine="vlm")
    with pytest.raises(UsageError, match="no engine 'vlm'"):
        StepModel.of(outline_of("llama-3.3-70b"), here)


@pytest.mark.parametrize("name", ENGINES)
def test_a_step_rests_on_its_engines_overheads(name):
    here = Deployment(chip=load_accelerator("h200-sxm"), tp=8, engine=name)
    assert engine_of(name).basis in StepModel.of(outline_of("llama-3.3-70b"), here).basis
