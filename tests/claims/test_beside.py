"""Claims of one kind of chip against another: figures are those of the step models, and each says for which workloads."""

from typing import get_args

import pytest

from takt.chips import load_accelerator
from takt.claims import Claim, Row, Source, evaluate, find_claims, load_claims
from takt.claims.beside import bandwidth_share, beside, memory_ratio, work_price
from takt.claims.compute import _COMPUTATIONS
from takt.claims.megawatts import per_megawatt
from takt.claims.sheet import Computation, Compute, Mark, Relation
from takt.errors import UnsupportedError
from takt.models.outlines import outline_of
from takt.perf import Deployment, Precision, StepModel
from takt.perf.lpu import LpuDeployment, lpu_step_cost

BESIDE = Computation(
    compute="beside", quantity="speed_ratio", system="groqrack-v1", chips=72, model="llama-3.1-8b",
    beside="h100-sxm", precision="bf16",
)  # fmt: skip


def row(relation: Relation, better: str, value: float, takt: float | None) -> Row:
    claim = Claim(
        id="one", text="t", source=Source(key="S", text="s"), date="2026", mark=Mark.VENDOR, conditions="",
        relation=relation, value=value, unit="times", better=better, why="w",  # type: ignore[arg-type]
        takt=BESIDE,
    )  # fmt: skip
    return Row(claim=claim, takt=takt, why="", basis="", detail="", seconds=0.0)


@pytest.mark.parametrize(
    ("relation", "better", "value", "takt", "holds"),
    [
        (Relation.EQUAL, "higher", 10.0, 12.0, True),
        (Relation.EQUAL, "higher", 10.0, 9.1, True),
        (Relation.EQUAL, "higher", 10.0, 8.9, False),
        (Relation.ABOUT, "lower", 10.0, 10.5, True),
        (Relation.ABOUT, "lower", 10.0, 12.0, False),
        (Relation.MORE, "higher", 50.0, 49.0, False),
        (Relation.LESS, "lower", 3.0, 3.1, False),
        (Relation.LESS, "higher", 35.0, 33.0, True),
        (Relation.EQUAL, "higher", 10.0, None, None),
    ],
)
def test_a_claim_holds_if_takts_figure_is_as_good(
    relation: Relation, better: str, value: float, takt: float | None, holds: bool | None
) -> None:
    assert row(relation, better, value, takt).holds is holds


def test_every_computation_of_the_sheet_is_there() -> None:
    assert set(get_args(Compute)) == set(_COMPUTATIONS)


def test_claims_against_gpus_are_rows_and_computed() -> None:
    """What vendors say about LPUs, wafers and FPGAs beside GPUs; one has no ratio, and one no price, and say why."""
    claims = load_claims()
    ids = [
        "ten-times-faster", "tenth-of-the-energy", "wafer-bandwidth", "positron-five-times",
        "memory-bound", "llama-3.1-8b-versus-h100", "positron-per-watt",
    ]  # fmt: skip
    rows = evaluate(find_claims(claims, ids))
    assert {each.claim.id for each in rows} == set(ids)
    for each in rows:
        if each.claim.id == "positron-five-times":
            assert each.holds is None
            assert "no price of positron-atlas" in each.why
            assert "/h at 1 user" in each.why
        else:
            assert each.holds is not None
            assert each.workloads, each.claim.id
    assert not [c.id for c in claims if "GPUs are not modelled" in c.takt.reason]


def test_an_lpu_beside_gpus_is_the_ratio_of_their_steps() -> None:
    found = beside(BESIDE)
    lpu = lpu_step_cost(
        "llama-3.1-8b", LpuDeployment(n_chips=72, with_host=False), "decode", 1, 2047
    )
    model, chip = outline_of("llama-3.1-8b"), load_accelerator("h100-sxm")
    gpus = [
        StepModel.of(
            model, Deployment(chip=chip, tp=tp, precision=Precision(weights="bf16"))
        ).decode(1, 2048)
        for tp in (1, 2, 4, 8)
    ]
    fastest = min(gpus, key=lambda made: float(made.time_s))
    assert found.values["speed_ratio"] == pytest.approx(float(fastest.time_s / lpu.time_s))
    assert found.values["latency_percent"] == pytest.approx(100 / found.values["speed_ratio"])
    assert found.values["energy_ratio"] == pytest.approx(float(fastest.energy_j / lpu.energy_j))
    assert "1 user" in found.workloads
    assert "simulated" in found.basis


def test_a_model_that_does_not_fit_has_no_figure() -> None:
    with pytest.raises(UnsupportedError, match="not even one user"):
        beside(Computation(compute="beside", system="groqrack-v1", chips=8, model="llama-3.3-70b", beside="h100-sxm"))  # fmt: skip


def test_memory_is_compared_by_facts() -> None:
    found = memory_ratio(Computation(compute="memory-ratio", chip="cerebras-wse3", beside="h100-sxm"))  # fmt: skip
    wafer, gpu = load_accelerator("cerebras-wse3"), load_accelerator("h100-sxm")
    assert found.values["bandwidth_ratio"] == wafer.memory.bytes_per_s / gpu.memory.bytes_per_s
    assert 6000 < found.values["bandwidth_ratio"] < 7000


def test_bandwidth_explains_at_most_all_of_a_step() -> None:
    what = Computation(
        compute="bandwidth-share", model="llama-3.1-8b", beside="h100-sxm", also=("mi300x",),
        system="groqrack-v1", precision="bf16",
    )  # fmt: skip
    found = bandwidth_share(what)
    shares = [float(each.split(" %")[0].split()[-1]) for each in found.workloads.split(", ")]
    assert all(0 < share <= 100 for share in shares)
    made = StepModel.of(
        outline_of("llama-3.1-8b"),
        Deployment(chip=load_accelerator("h100-sxm"), precision=Precision(weights="bf16")),
    ).decode(1, 2048)
    # 7.5 G weights beside the table, 16 bits each, 128 KiB of cache a position.
    read_s = (2 * (8.03e9 - 128_256 * 4096) + 131_072 * 2048) / 3.35e12
    assert found.values["share_percent"] == pytest.approx(
        100 * read_s / float(made.time_s), rel=0.01
    )
    assert "groqrack-v1" in found.workloads


def test_work_has_a_price_where_both_chips_have_one() -> None:
    what = Computation(
        compute="work-price", quantity="usd_ratio", model="llama-3.1-8b", chip="h200-sxm",
        beside="h100-sxm", precision="bf16",
    )  # fmt: skip
    found = work_price(what)
    a, b = load_accelerator("h200-sxm"), load_accelerator("h100-sxm")
    assert a.price.rent_usd_per_h and b.price.rent_usd_per_h
    assert 0.5 < found.values["usd_ratio"] < 2
    assert "h200-sxm that do the work of one h100-sxm" in found.workloads


def test_megawatts_have_no_ratio_at_a_speed_that_one_misses() -> None:
    what = Computation(
        compute="per-megawatt", quantity="per_mw_ratio", model="gpt-oss-20b", beside="h100-sxm", gpu="h100-sxm",
        system="lpx-rack", link="ethernet-400", context=4096, speed=1e6,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="there is no ratio"):
        per_megawatt(what)
    slow = Computation(
        **{name: getattr(what, name) for name in what.__struct_fields__} | {"speed": 5.0}
    )
    found = per_megawatt(slow)
    assert found.values["per_mw_ratio"] > 0
    assert found.values["fastest_ratio"] > 0
    assert "tokens/s a user" in found.workloads
