"""Claims: every row has what a reader needs, files are read strictly, and answers come from the computations alone."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from takt.chips import load_accelerator, load_chip, load_system
from takt.claims import Claim, Row, Source, evaluate, find_claims, load_claims
from takt.claims.compute import task_of
from takt.claims.plot import colour_of, write_claims_plot
from takt.claims.sheet import Computation, Mark, Relation
from takt.errors import CapacityError, DataErrors, UsageError
from takt.lpu.system import compile_system, summarise_system
from takt.models import shape_of
from takt.models.outlines import outline_of

SOURCE = Source(key="S", text="A source, https://example.org")
ROW = """
[sources]
S = "A source, https://example.org"
[[claim]]
id = "one"
text = "Something"
source = "S"
date = "2026"
mark = "V"
conditions = ""
relation = "="
value = 2.0
unit = "cycles"
better = "lower"
why = "a reason"
[claim.takt]
compute = "barrier"
quantity = "cycles"
"""


@pytest.fixture(scope="module")
def claims() -> tuple[Claim, ...]:
    return load_claims()


def claim(**changed: object) -> Claim:
    fields: dict[str, object] = {
        "id": "one",
        "text": "Something",
        "source": SOURCE,
        "date": "2026",
        "mark": Mark.VENDOR,
        "conditions": "",
        "relation": Relation.EQUAL,
        "value": 2.0,
        "unit": "cycles",
        "better": "lower",
        "why": "a reason",
        "takt": Computation(compute="barrier", quantity="cycles"),
    }
    return Claim(**(fields | changed))  # type: ignore[arg-type]


def test_every_claim_says_where_it_was_read_and_why_figures_differ(
    claims: tuple[Claim, ...],
) -> None:
    assert len({c.id for c in claims}) == len(claims) > 50
    for c in claims:
        assert re.search(r"https?://\S+", c.source.text), c.id
        assert re.fullmatch(r"\d{4}(-\d\d){0,2}", c.date), c.id
        assert c.why and "\n" not in c.why and c.text and c.unit, c.id
        assert not c.why.startswith("not computed"), c.id


def test_every_published_result_has_a_row(claims: tuple[Claim, ...]) -> None:
    """Figures of the sources that Takt is held against, by value and unit."""
    figures = {(c.value, c.unit) for c in claims}
    assert figures >= {
        (44118.0, "cycles"), (20400.0, "images/s"), (117000.0, "cycles"), (1225.0, "µs"), (35.0, "cycles"),
        (40.0, "cycles"), (2.1, "µs"), (100.0, "tokens/s"), (300.0, "tokens/s"), (750.0, "tokens/s"),
        (480.0, "tokens/s"), (877.0, "tokens/s"), (284.0, "tokens/s"), (250.0, "tokens/s"),
        (1660.0, "tokens/s"), (1000.0, "tokens/s"), (500.0, "tokens/s"), (200.0, "tokens/s"),
        (460.0, "tokens/s"), (3.0, "J/token"), (10.0, "times"), (315.0, "Pflop/s"), (40.0, "PB/s"),
        (640.0, "TB/s"), (128.0, "GB"), (0.35, "µs"), (2.95, "µs"), (10996.0, "tokens/s"),
    }  # fmt: skip


def test_chips_that_nobody_published_are_named_as_assumed(claims: tuple[Claim, ...]) -> None:
    for c in claims:
        if "chips not stated" in c.conditions and c.takt.compute != "none":
            assert c.takt.assumed, c.id
        if c.takt.racks:
            assert any("rack" in text for text in c.takt.assumed), c.id


def test_models_and_systems_of_claims_exist(claims: tuple[Claim, ...]) -> None:
    for c in claims:
        if c.takt.compute in ("decode", "speculative", "encode", "fewest"):
            shape = shape_of(c.takt.model or "")
            assert c.takt.context <= shape.max_context, c.id
        if c.takt.draft:
            assert shape_of(c.takt.draft).vocab_size == shape_of(c.takt.model or "").vocab_size
        if c.takt.system:
            system = load_system(c.takt.system)
            assert (c.takt.chips or 1) <= system.max_chips, c.id
        load = load_accelerator if c.takt.beside else load_chip
        if c.takt.chip:
            assert load(c.takt.chip).id == c.takt.chip
        for other in (c.takt.beside, c.takt.gpu, *c.takt.also):
            assert other is None or load_accelerator(other).id == other
        if c.takt.beside and c.takt.model:
            assert outline_of(c.takt.model).name == c.takt.model


def test_a_good_file_reads(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(ROW)
    (found,) = load_claims(path)
    assert found == claim()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.replace('id = "one"\n', ""), "`id`"),
        (lambda t: t.replace('source = "S"', 'source = "T"'), "a key of [sources], got 'T'"),
        (lambda t: t.replace('mark = "V"', 'mark = "X"'), "mark"),
        (lambda t: t.replace('unit = "cycles"', 'unnit = "cycles"'), "unnit"),
        (lambda t: t.replace('compute = "barrier"', 'compute = "guess"'), "guess"),
        (lambda t: t.replace("value = 2.0", "value = 0.0"), "a positive number"),
        (lambda t: t.replace("value = 2.0", 'value = "2"'), "value"),
        (lambda t: t + 'reason = "no"\n', "takt.reason"),
        (lambda t: t.replace('compute = "barrier"', 'compute = "none"'), "takt.reason"),
        (lambda t: t.replace("[[claim]]", 'U = "unused"\n[[claim]]'), "sources.U"),
        (lambda t: t + t[t.index("[[claim]]") :], "an id of its own"),
        (lambda t: t + "]", "a TOML file"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    tmp_path: Path, change: Callable[[str], str], complaint: str
) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(change(ROW))
    with pytest.raises(DataErrors) as caught:
        load_claims(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    bad = ROW.replace("value = 2.0", "value = -1.0").replace('source = "S"', 'source = "T"')
    path.write_text(bad + ROW[ROW.index("[[claim]]") :].replace('"one"', '"two"').replace("V", "X"))
    with pytest.raises(DataErrors) as caught:
        load_claims(path)
    assert len(caught.value.problems) == 3


def test_claims_are_found_by_id_with_a_near_miss(claims: tuple[Claim, ...]) -> None:
    assert [c.id for c in find_claims(claims, ["reach-8", "barrier"])] == ["barrier", "reach-8"]
    assert find_claims(claims, []) == claims
    with pytest.raises(UsageError) as caught:
        find_claims(claims, ["barier"])
    assert caught.value.hint == "did you mean 'barrier'?"


def test_a_row_holds_takts_figure_and_its_ratio() -> None:
    (row,) = evaluate([claim(value=70.0)])
    assert (row.takt, row.ratio, row.why) == (35.0, 0.5, "a reason")
    assert row.basis == "simulated"


def test_what_nothing_computes_says_so() -> None:
    none = Computation(compute="none", reason="nobody knows")
    llama4 = Computation(
        compute="decode", quantity="tokens_per_s_user", model="llama-4-scout", system="groqrack-v1", chips=72
    )  # fmt: skip
    rows = evaluate([claim(takt=none), claim(takt=llama4)])
    assert [(row.takt, row.ratio) for row in rows] == [(None, None)] * 2
    assert rows[0].why == "not computed: nobody knows"
    assert rows[1].why.startswith("not computed: llama-4-scout")


def test_claims_about_one_machine_share_a_computation() -> None:
    heard: list[tuple[int, int]] = []
    wanted = [
        claim(takt=Computation(compute="rack", quantity=quantity, system="lpx-rack", assumed=(quantity,)))
        for quantity in ("int8_pops", "sram_gb", "link_tb_per_s")
    ]  # fmt: skip
    rows = evaluate(wanted, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 1)]
    assert len({task_of(c.takt) for c in wanted}) == 1
    assert [row.takt for row in rows] == pytest.approx([314.57, 128.005, 688.13], rel=1e-4)


def test_several_processes_give_the_same_rows() -> None:
    wanted = [
        claim(),
        claim(id="two", takt=Computation(compute="weight-load", quantity="cycles")),
        claim(id="three", takt=Computation(compute="none", reason="no")),
    ]
    alone, together = evaluate(wanted), evaluate(wanted, processes=2)
    assert [(r.claim, r.takt, r.why) for r in alone] == [(r.claim, r.takt, r.why) for r in together]


def test_tokens_are_those_of_the_system_compiled() -> None:
    what = Computation(
        compute="decode", quantity="tokens_per_s_user", model="stories260k", system="groqnode-v1",
        chips=4, context=64,
    )  # fmt: skip
    (row,) = evaluate([claim(takt=what)])
    made = compile_system(
        shape_of("stories260k"), load_system("groqnode-v1"), n_chips=4, context=64
    )
    assert row.takt == made.tokens_per_s_user
    (joules,) = evaluate([claim(takt=Computation(**(_fields(what) | {"quantity": "energy_j_per_token"})))])  # fmt: skip
    assert joules.takt == summarise_system(made).energy.total_j
    assert "assumed energy coefficients" in joules.basis


def test_most_users_are_as_many_as_fit(tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 2000\n')
    path = tmp_path / "node.toml"
    path.write_text('base = "groqnode-v1"\nchip = "chip.toml"\n')
    what = Computation(
        compute="decode", quantity="energy_j_per_token", model="stories15m", system=str(path), chips=4,
        context=256, users="most", objective="throughput",
    )  # fmt: skip
    (row,) = evaluate([claim(takt=what)])
    users = int(row.detail.split(", ")[1].split()[0])
    group = int(row.detail.split("groups of ")[1].split(",")[0])
    shape, system = shape_of("stories15m"), load_system(path)
    made = compile_system(
        shape, system, n_chips=4, context=256, users=users, objective="throughput", group=group
    )
    assert row.takt == summarise_system(made).energy.total_j
    with pytest.raises(CapacityError):
        compile_system(shape, system, n_chips=4, context=256, users=users + 1, group=group)


def test_whole_racks_and_a_draft_of_its_own() -> None:
    what = Computation(
        compute="speculative", quantity="tokens_per_s_user", model="stories260k", system="groqrack-v1",
        racks=True, context=64, draft="stories260k", draft_chips=1, acceptance=0.5,
    )  # fmt: skip
    (row,) = evaluate([claim(takt=what)])
    assert row.takt is not None and row.takt > 0
    assert row.detail.startswith("72 and 1 chips, ")
    assert "assumed acceptance" in row.basis


def test_models_of_one_shape_share_a_computation(claims: tuple[Claim, ...]) -> None:
    tasks = {c.id: task_of(c.takt) for c in claims}
    assert tasks["llama-3-70b"] == tasks["llama-3.1-70b"] == tasks["llama-3.3-70b"]
    assert tasks["llama-3-8b"] == tasks["llama-3.1-8b"] != tasks["llama-3-70b"]
    assert tasks["llama-2-70b-100"] == tasks["llama-2-70b-300"]
    assert tasks["gpt-oss-20b"] != tasks["gpt-oss-120b"]


def _fields(what: Computation) -> dict[str, object]:
    return {name: getattr(what, name) for name in what.__struct_fields__}


def test_published_networks_are_measured_on_the_system(claims: tuple[Claim, ...]) -> None:
    wanted = find_claims(claims, ["hops-264", "latency-rack", "reach-128", "all-reduce-8"])
    rows = {row.claim.id: row for row in evaluate(wanted)}
    system = load_system("groqrack-v1")
    farthest = max(row.latency_ns for row in system.reach(system.network(72)))
    assert rows["latency-rack"].takt == farthest / 1000
    assert rows["hops-264"].takt == 3
    assert rows["reach-128"].ratio == pytest.approx(1, abs=0.01)
    assert rows["all-reduce-8"].takt is not None and rows["all-reduce-8"].takt < 2.1


def row(ratio: float, better: str) -> Row:
    return Row(claim=claim(better=better), takt=2 * ratio, why="", basis="", detail="", seconds=0.0)


def test_colours_tell_better_from_worse() -> None:
    good = {colour_of(row(2, "higher")), colour_of(row(0.5, "lower"))}
    bad = {colour_of(row(0.5, "higher")), colour_of(row(2, "lower"))}
    same = {colour_of(row(1, "higher")), colour_of(row(1.001, "lower"))}
    assert [len(colours) for colours in (good, bad, same)] == [1, 1, 1]
    assert len(good | bad | same) == 3


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_is_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    rows = [row(2, "higher"), row(0.3, "lower"), row(1, "lower")]
    for name in ("a", "b"):
        write_claims_plot(tmp_path / f"{name}{suffix}", rows)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    head = (tmp_path / f"a{suffix}").read_bytes()[:8]
    assert head == b"\x89PNG\r\n\x1a\n" or head.startswith(b"<?xml")


def test_a_picture_of_nothing_or_of_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends in"):
        write_claims_plot(tmp_path / "a.jpg", [row(2, "higher")])
    empty = Row(claim=claim(), takt=None, why="", basis="", detail="", seconds=0.0)
    with pytest.raises(UsageError, match="no"):
        write_claims_plot(tmp_path / "a.png", [empty])
