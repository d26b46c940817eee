"""Kernel times: laws of every chip, measured points hit, honest names of what a figure rests on."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import Accelerator, list_accelerators, load_accelerator
from takt.errors import TaktError, UnsupportedError, UsageError
from takt.perf.kernels import Kernels, kernels_of

SAMPLE = Path(__file__).parent / "data" / "kernels_sample.csv"
SYSTEMS = {"h200_sxm": "h200-sxm", "b200_sxm": "b200-sxm"}
# A chip with tables of its own, one that takes a nearest chip's, one with some tables, one with none.
KINDS = ("h200-sxm", "h20", "mi300x", "gaudi3")
ROUNDING = 1 + 1e-9

sizes = st.floats(min_value=1, max_value=200_000)
growth = st.floats(min_value=1, max_value=50)
names = st.sampled_from(KINDS)


@cache
def chip(name: str) -> Accelerator:
    return load_accelerator(name)


@cache
def kernels(name: str, engine: str = "vllm") -> Kernels:
    return kernels_of(chip(name), engine)


def rises(shorter: np.ndarray, longer: np.ndarray) -> bool:
    return bool(np.all(shorter <= longer * ROUNDING) and np.all(shorter > 0))


# -- laws -----------------------------------------------------------------------------------------


@given(names, sizes, sizes, sizes, growth, st.sampled_from(["bf16", "fp8", "fp4", "int4"]))
@settings(max_examples=150, deadline=None)
def test_a_product_takes_longer_the_larger_it_is(name, m, n, k, more, kind):
    here = kernels(name)
    once = here.gemm(m, n, k, kind, kind)
    assert rises(once, here.gemm(m * more, n, k, kind, kind))
    assert rises(once, here.gemm(m, n * more, k, kind, kind))
    assert rises(once, here.gemm(m, n, k * more, kind, kind))


@given(names, sizes, sizes, sizes, st.sampled_from(["bf16", "fp8"]))
@settings(max_examples=150, deadline=None)
def test_no_product_is_faster_than_the_roofline(name, m, n, k, kind):
    ops_per_s = chip(name).ops_per_s(kind)
    least = max(
        2 * m * n * k / ops_per_s,
        n * k * {"bf16": 2, "fp8": 1}[kind] / chip(name).memory.bytes_per_s,
    )
    assert kernels(name).gemm(m, n, k, kind, kind) * ROUNDING >= least


@given(
    names, st.integers(1, 512), st.integers(1, 200_000), growth, st.sampled_from(["bf16", "fp8"])
)
@settings(max_examples=150, deadline=None)
def test_attention_takes_longer_with_more_users_and_longer_contexts(name, batch, context, more, kv):
    here = kernels(name)
    shape = (32, 8, 128, kv)
    for call in (
        lambda b, c: here.attention_decode(b, c, *shape),
        lambda b, c: here.attention_prompt(b, c, 0, *shape),
        lambda b, c: here.attention_prompt(b, 512, c, *shape),
        lambda b, c: here.latent_decode(b, c, 16, kv),
        lambda b, c: here.latent_prompt(b, c, 0, 16, kv),
    ):
        once = call(batch, context)
        assert rises(once, call(batch * more, context))
        assert rises(once, call(batch, context * more))


@given(names, st.integers(1, 512), st.integers(1, 200_000))
@settings(max_examples=100, deadline=None)
def test_no_decode_step_reads_its_cache_faster_than_memory_can(name, batch, context):
    n_bytes = batch * context * 8 * 128 * 2 * 2
    least = n_bytes / chip(name).memory.bytes_per_s
    assert kernels(name).attention_decode(batch, context, 32, 8, 128) * ROUNDING >= least


@given(
    names,
    st.integers(1, 100_000),
    growth,
    st.sampled_from([1, 2, 8, 64]),
    st.sampled_from([None, "balanced"]),
)
@settings(max_examples=150, deadline=None)
def test_experts_take_longer_with_more_tokens(name, tokens, more, ep, skew):
    def call(n: float) -> np.ndarray:
        return kernels(name).experts(n, 7168, 2048, 256, 8, weights="fp8", ep=ep, skew=skew)

    assert rises(call(tokens), call(tokens * more))


@given(
    st.sampled_from(["h200-sxm", "h20", "mi300x"]),
    st.integers(1, 2**31),
    growth,
    st.integers(2, 64),
)
@settings(max_examples=150, deadline=None)
def test_exchanges_take_longer_with_more_bytes_and_no_less_than_the_links_allow(
    name, n_bytes, more, chips
):
    here = kernels(name)
    for call in (here.all_reduce, here.all_gather, here.reduce_scatter, here.all_to_all):
        once = call(n_bytes, chips)
        assert rises(once, call(n_bytes * more, chips))
        # Inside a domain of full-rate links; what lies beyond it is slower still.
        inside = min(chips, chip(name).scale_up.chips)
        assert once * ROUNDING >= n_bytes * (1 - 1 / inside) / chip(name).scale_up.bytes_per_s
    assert rises(here.send(n_bytes), here.send(n_bytes * more))
    assert rises(here.elementwise(n_bytes), here.elementwise(n_bytes * more))


@given(names, st.integers(1, 60_000), growth, st.sampled_from([2, 8, 32]))
@settings(max_examples=60, deadline=None)
def test_dealing_tokens_to_experts_takes_longer_with_more_of_them(name, tokens, more, ep):
    def call(n: float) -> np.ndarray:
        return kernels(name).dispatch_combine(n, 7168, 8, 256, ep)

    assert rises(call(tokens), call(tokens * more))


@given(names, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_power_rises_with_use_and_stays_within_the_limit(name, memory, compute, more):
    here = kernels(name)
    watts = here.power_w(memory, compute)
    limit = chip(name).power.tdp_w
    assert 0 < watts <= 1.05 * limit
    assert watts <= here.power_w(memory + (1 - memory) * more, compute) * ROUNDING
    assert watts <= here.power_w(memory, compute + (1 - compute) * more) * ROUNDING


@given(names, st.lists(sizes, min_size=1, max_size=5), sizes, sizes)
@settings(max_examples=60, deadline=None)
def test_arrays_give_what_their_elements_give(name, ms, n, k):
    here = kernels(name)
    one_by_one = [float(here.gemm(m, n, k)) for m in ms]
    assert np.allclose(here.gemm(ms, n, k), one_by_one, rtol=1e-12)
    full = here.gemm(ms, np.full(len(ms), n), np.full(len(ms), k))
    assert np.allclose(full, one_by_one, rtol=1e-9)


def test_arguments_broadcast_against_each_other():
    here = kernels("h200-sxm")
    assert here.gemm(np.ones((4, 1)), np.full(3, 4096), 512).shape == (4, 3)
    assert here.attention_decode(np.ones((5, 1)), np.ones(2), 32, 8, 128).shape == (5, 2)
    assert here.experts(np.ones(7), 2048, 768, 128, 8).shape == (7,)
    assert here.all_reduce(1e6, [1, 2, 4]).shape == (3,)


# -- measured points ------------------------------------------------------------------------------


def measured() -> list[tuple[str, float, float]]:
    """(family, predicted, measured) of the sampled calls."""
    found = []
    with SAMPLE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            here = kernels(SYSTEMS[row["system"]], row["engine"])
            a, b, c, d = (float(row[f"size_{i}"] or 0) for i in range(1, 5))
            family, kind = row["family"], row["type"]
            if family == "gemm":
                seconds = here.gemm(a, b, c, kind, kind)
            elif family == "attention_prompt":
                seconds = here.attention_prompt(a, b, 0, c, d, 128, kind)
            elif family == "attention_decode":
                seconds = here.attention_decode(a, b, c, d, 128, kind)
            elif family == "latent_decode":
                seconds = here.latent_decode(a, b, c, kind)
            elif family == "experts":
                top_k, tp, ep = (int(part) for part in row["rest"].split("/"))
                seconds = here.experts(a, b, c, d, top_k, 3, tp, ep, kind)
            else:
                seconds = here.all_gather(a, b)
            found.append((family, float(seconds), float(row["latency_ms"]) * 1e-3))
    return found


@pytest.mark.parametrize(
    ("family", "tolerance"),
    [
        ("gemm", 0.03),
        ("attention_prompt", 0.03),
        ("attention_decode", 0.03),
        ("latent_decode", 0.03),
        ("experts", 0.10),  # calls of different models meet in one node of the grid
        ("all_gather", 0.05),
    ],
)
def test_tables_give_what_was_measured(family, tolerance):
    away = [abs(guess / seconds - 1) for name, guess, seconds in measured() if name == family]
    assert len(away) >= 15
    assert np.median(away) <= tolerance
    assert max(away) <= 1.0


def test_few_new_tokens_after_a_long_context_take_as_long_as_one_walk_past_it():
    """LLMServingSim@5daddb2 (MIT), RTX PRO 6000: 369 µs on 16 heads, 370 µs on 32, whatever peaks say."""
    here = kernels("rtx-pro-6000")
    for heads, kv_heads, seconds in ((16, 4, 369.3e-6), (32, 8, 370.3e-6)):
        once = here.attention_prompt(1, 64, 16384, heads, kv_heads, 128)
        assert once == pytest.approx(seconds, rel=0.15)
    assert here.attention_prompt(1, 64, 16384, 32, 8, 128, window=128) < once / 5


@pytest.mark.parametrize(
    ("name", "users", "context", "kv_heads", "seconds"),
    [
        ("rtx-pro-6000", 128, 923, 8, 575.0e-6),
        ("rtx-pro-6000", 128, 923, 4, 573.9e-6),
        ("rtx-pro-6000", 32, 410, 8, 74.2e-6),
        ("rtx-4090", 128, 512, 8, 765.4e-6),
        ("rtx-4090", 32, 1024, 8, 294.8e-6),
    ],
)
def test_a_query_beside_prompts_costs_a_block_of_queries_however_few_the_heads_of_keys(
    name, users, context, kv_heads, seconds
):
    """LLMServingSim (MIT; tools/kernel_tables/mixed_calls.csv), vLLM: calls with 16 tokens of a prompt, less those alone."""
    here = kernels(name)
    beside_s = here.attention_decode(users, context, 32, kv_heads, 128, beside=True)
    assert beside_s == pytest.approx(seconds, rel=0.15)
    assert beside_s > 1.2 * here.attention_decode(users, context, 32, kv_heads, 128)


@given(st.sampled_from(("rtx-pro-6000", "l40s", "a100-sxm")), sizes, sizes, growth)
def test_attention_beside_prompts_is_never_shorter_and_grows(name, users, context, more):
    here = kernels(name)
    once = here.attention_decode(users, context, 32, 8, 128, beside=True)
    assert rises(here.attention_decode(users, context, 32, 8, 128), once)
    assert rises(once, here.attention_decode(users * more, context, 32, 8, 128, beside=True))
    assert rises(once, here.attention_decode(users, context * more, 32, 8, 128, beside=True))


# -- what a figure rests on -----------------------------------------------------------------------


def test_a_measured_family_names_its_source():
    assert kernels("h200-sxm", "trtllm").basis("gemm", "fp8") == (
        "measured: aiconfigurator@095f58a gemm fp8 trtllm"
    )
    assert kernels("h200-sxm", "generic").basis("gemm", "fp8").endswith("generic")
    assert kernels("h200-sxm", "no-such-engine").basis("gemm", "fp8").endswith("generic")


def test_a_chip_without_tables_names_whose_efficiencies_it_takes_and_errs_more():
    near = kernels("h20")
    assert near.basis("gemm", "fp8") == "roofline (efficiencies of h100-sxm gemm fp8)"
    assert near.error("gemm", "fp8") >= kernels("h100-sxm").error("gemm", "fp8")
    far = kernels("gaudi3")
    assert far.basis("gemm", "bf16") == "roofline (default efficiencies)"
    assert far.error("attention_decode", "bf16") > kernels("h200-sxm").error(
        "attention_decode", "bf16"
    )


def test_a_type_that_was_not_measured_takes_a_like_one_of_the_same_chip():
    assert kernels("h200-sxm").basis("experts", "fp4") == (
        "roofline (efficiencies of h200-sxm experts mxfp4)"
    )


def test_a_type_measured_on_other_chips_of_the_vendor_comes_before_a_like_type():
    assert kernels("mi300x").basis("gemm", "bf16") == "roofline (efficiencies of AMD gemm bf16)"
    assert kernels("mi300x").basis("gemm", "fp8") == "roofline (efficiencies of AMD gemm fp8)"
    assert kernels("mi300x").basis("gemm", "fp8_block").startswith("measured: aiter")


def test_fewer_bytes_of_weights_make_small_products_faster_where_nothing_multiplies_them():
    a100 = kernels("a100-sxm")
    wide, narrow = a100.gemm(1, 16384, 16384), a100.gemm(1, 16384, 16384, "fp4", "")
    assert narrow < wide
    assert a100.gemm(1, 16384, 16384, "fp8", "") > narrow
    assert "gemm int4" in a100.basis("gemm", "fp4")  # 4-bit weights, widened
    assert "gemm int8_wo" in a100.basis("gemm", "fp8")


def test_every_chip_of_the_catalogue_has_an_answer():
    for found in list_accelerators():
        here = kernels_of(found)
        for seconds in (
            here.gemm([1, 64, 4096], 4096, 4096),
            here.gemm(16, 4096, 4096, "int4", "bf16"),
            here.attention_decode([1, 64], 4096, 32, 8, 128),
            here.attention_prompt(1, [16, 8192], 0, 32, 8, 128, "fp8"),
            here.latent_decode(8, 4096, 128),
            here.experts([1, 4096], 4096, 1536, 128, 8, weights="fp8"),
            here.elementwise(1e6),
        ):
            assert np.all(np.isfinite(seconds)) and np.all(seconds > 0), found.id
        assert 0 < here.error("gemm", "bf16") < 3
        assert here.launch_s > 0


# -- exchanges at the edges -----------------------------------------------------------------------


def test_a_chip_alone_exchanges_nothing():
    here = kernels("h200-sxm")
    assert here.all_reduce(1e6, 1) == 0
    assert here.dispatch_combine(64, 7168, 8, 256, 1) == 0


def test_beyond_its_domain_an_exchange_goes_over_the_slower_links():
    here = kernels("h200-sxm")
    near, far = here.all_reduce(1e8, 8), here.all_reduce(1e8, 16)
    beyond = 1e8 / 8 / 2 / chip("h200-sxm").scale_out.bytes_per_s
    assert far >= near + beyond


def test_a_chip_without_links_exchanges_nothing_with_others():
    lonely = next(
        found
        for found in list_accelerators()
        if found.scale_up.bytes_per_s is None and found.scale_out.bytes_per_s is None
    )
    with pytest.raises(UnsupportedError, match="link"):
        kernels_of(lonely).all_reduce(1e6, 2)


# -- routing --------------------------------------------------------------------------------------


def test_uneven_routing_reads_fewer_experts_and_loads_the_busiest_chip_more():
    here = kernels("h200-sxm", "trtllm")
    few = {"weights": "fp8", "ep": 1}
    assert here.experts(64, 7168, 2048, 256, 8, **few) < here.experts(
        64, 7168, 2048, 256, 8, skew="balanced", **few
    )
    many = {"weights": "fp8", "ep": 64}
    assert here.experts(16384, 7168, 2048, 256, 8, **many) > 1.5 * here.experts(
        16384, 7168, 2048, 256, 8, skew="balanced", **many
    )


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: k.gemm(1, 2, 3, "fp9"), "no number type 'fp9'"),
        (lambda k: k.gemm(1, 2, 3, "fp8", "fp7"), "no number type 'fp7'"),
        (lambda k: k.attention_decode(1, 1, 1, 1, 1, "bf15"), "no number type 'bf15'"),
        (lambda k: k.experts(1, 2, 3, 4, 1, weights="int3"), "no number type 'int3'"),
        (lambda k: k.experts(1, 2, 3, 4, 1, skew="balansed"), "no routing 'balansed'"),
        (lambda k: k.basis("gem", "bf16"), "no family of kernels 'gem'"),
        (lambda k: k.error("gemm", "bf17"), "no number type 'bf17'"),
    ],
)
def test_unknown_names_are_refused_with_a_near_miss(call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call(kernels("h200-sxm"))
    assert isinstance(caught.value, TaktError)
    assert caught.value.hint
