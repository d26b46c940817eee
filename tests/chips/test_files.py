"""A user's chip files: overrides, and every mistake reported at once and kindly."""

from collections.abc import Callable
from pathlib import Path

import pytest

from takt.chips import Kind, load_chip
from takt.chips.lookup import check_chips
from takt.errors import DataErrors, Problem, UsageError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(text: str, name: str = "my.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def problems_of(path: Path) -> list[Problem]:
    with pytest.raises(DataErrors) as caught:
        load_chip(path)
    assert list(check_chips([path])) == list(caught.value.problems)
    return list(caught.value.problems)


def only_problem(path: Path) -> Problem:
    (problem,) = problems_of(path)
    return problem


def test_a_file_that_only_names_a_base_is_that_chip(write: Write) -> None:
    chip = load_chip(write('base = "lpu-v1"'))
    assert (chip.id, chip.name) == ("my", "my, after lpu-v1")
    assert chip.fingerprint == load_chip("lpu-v1").fingerprint
    assert chip.fact("core.clock_hz").kind is Kind.PUBLISHED


def test_twice_the_sram_is_one_line_and_is_assumed(write: Write) -> None:
    path = write('base = "lpu-v1"\n[mem]\nwords_per_slice = 16384')
    chip = load_chip(str(path))
    assert chip.sram_bytes == 2 * load_chip("lpu-v1").sram_bytes
    fact = chip.fact("mem.words_per_slice")
    assert (fact.kind, fact.source, fact.unit) == (Kind.ASSUMED, str(path), "words")


def test_an_override_may_be_a_full_row_with_any_source(write: Write) -> None:
    path = write(
        'base = "lpu-v1"\n[vxm]\nalu_cycles = { value = 2, unit = "cycles", kind = "measured",'
        ' source = "my own bench", date = 2026-01-31, note = "mean of ten" }'
    )
    fact = load_chip(path).fact("vxm.alu_cycles")
    assert (fact.kind, fact.source, fact.date) == (Kind.MEASURED, "my own bench", "2026-01-31")


def test_a_clock_may_be_written_with_an_exponent(write: Write) -> None:
    assert load_chip(write('base = "lpu-v1"\n[core]\nclock_hz = 1.25e9')).clock_hz == 1_250_000_000


def test_facts_that_follow_follow(write: Write) -> None:
    path = write('base = "lpu-v1"\n[core]\nsuperlanes = 10\n[mem]\nslices_per_hemisphere = 48')
    chip = load_chip(path)
    assert (chip.lanes, chip.mxm.rows, chip.mxm.cols, chip.icu.queues) == (160, 160, 160, 152)
    assert chip.fact("icu.queues").kind is Kind.DERIVED
    assert chip.mxm_hops == 17


def test_a_stated_fact_that_contradicts_others_is_a_problem(write: Write) -> None:
    problem = only_problem(write('base = "lpu-v1"\n[icu]\nqueues = 145'))
    assert (problem.key, problem.found) == ("icu.queues", "145")
    assert problem.expected.startswith("144 = 2 x")


def test_a_file_may_be_the_base_of_another(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "lpu-v1"\n[vxm]\nalu_cycles = 2')
    (tmp_path / "b.toml").write_text('base = "a.toml"\n[vxm]\nentry_cycles = 4')
    chip = load_chip(tmp_path / "b.toml")
    assert (chip.vxm.alu_cycles, chip.vxm.entry_cycles) == (2, 4)


def test_bases_in_a_circle_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "b.toml"')
    (tmp_path / "b.toml").write_text('base = "a.toml"')
    assert only_problem(tmp_path / "a.toml").key == "base"


def test_the_last_of_dated_rows_holds_and_the_others_are_kept(write: Write) -> None:
    row = '{{ value = {}, kind = "measured", source = "bench", date = "{}" }}'
    rows = ", ".join([row.format(3, "2024"), row.format(2, "2025-06")])
    fact = load_chip(write(f'base = "lpu-v1"\n[vxm]\nalu_cycles = [{rows}]')).fact("vxm.alu_cycles")
    assert (fact.value, [old.value for old in fact.history]) == (2, [3])


def test_dated_rows_out_of_order_are_a_problem(write: Write) -> None:
    row = '{{ value = {}, kind = "measured", source = "bench", date = "{}" }}'
    rows = ", ".join([row.format(3, "2025-06"), row.format(2, "2024")])
    problem = only_problem(write(f'base = "lpu-v1"\n[vxm]\nalu_cycles = [{rows}]'))
    assert problem.expected == "rows in order of their dates"


@pytest.mark.parametrize(
    ("text", "key", "expected", "found", "hint"),
    [
        ("[vxm]\nalu_cycle = 3", "vxm.alu_cycle", "a fact of [vxm]", "an unknown one",
         "did you mean 'vxm.alu_cycles'?"),
        ("[vmx]\nalus = 3", "vmx", "a known group or key", "an unknown one",
         "did you mean 'vxm'?"),
        ("xyzzy = 3", "xyzzy", "a known group or key", "an unknown one", None),
        ("vxm = 3", "vxm", "a table of facts", "3", None),
        ('[vxm]\nalus = "16"', "vxm.alus", "an integer from 1 to 64 (ALUs)", "'16'", None),
        ("[vxm]\nalus = 16.0", "vxm.alus", "an integer from 1 to 64 (ALUs)", "16.0", None),
        ("[vxm]\nalus = true", "vxm.alus", "an integer from 1 to 64 (ALUs)", "a boolean", None),
        ("[vxm]\nalus = 0", "vxm.alus", "an integer from 1 to 64 (ALUs)", "0", None),
        ("[energy]\nidle_w = nan", "energy.idle_w", "a number from 0 to 1e+06 (W)", "nan", None),
        ("[energy]\nidle_w = -1", "energy.idle_w", "a number from 0 to 1e+06 (W)", "-1", None),
        ("[energy]\nidle_w = " + "9" * 400, "energy.idle_w", "a number from 0 to 1e+06 (W)",
         "an integer of 1329 bits", None),
        ("[vxm]\nalus = { value = 16, unit = 'cycles' }", "vxm.alus.unit", "'ALUs'", "'cycles'",
         None),
        ("[vxm]\nalus = { value = 16, sauce = 'S1' }", "vxm.alus",
         "one of value, unknown, unit, kind, source, date, note", "the unknown key 'sauce'",
         "did you mean 'source'?"),
        ("[vxm]\nalus = { value = 16, kind = 'publish', source = 'x' }", "vxm.alus.kind",
         "one of published, measured, derived, assumed", "'publish'",
         "did you mean 'published'?"),
        ("[vxm]\nalus = { value = 16, kind = 'measured' }", "vxm.alus.source",
         "a source for what is measured", "nothing", None),
        ("[vxm]\nalus = { value = 16, date = 'May' }", "vxm.alus.date",
         "a date such as '2020-05-30' or '2020'", "'May'", None),
        ("[vxm]\nalus = { unknown = true }", "vxm.alus",
         "an integer from 1 to 64 (ALUs); every chip has one", "unknown = true", None),
        ("[vxm]\nalus = {}", "vxm.alus.value", "an integer from 1 to 64 (ALUs)", "nothing", None),
        ("[mem]\nwords_per_slice = 8191", "mem.words_per_slice", "a multiple of mem.banks = 2",
         "8191", None),
        ("[mxm]\nload_streams = 33", "mxm.load_streams",
         "at most core.streams_per_direction = 32", "33", None),
    ],
)  # fmt: skip
def test_each_mistake_says_where_what_and_how(
    write: Write, text: str, key: str, expected: str, found: str, hint: str | None
) -> None:
    path = write(f'base = "lpu-v1"\n{text}'.replace("'", '"'))
    assert only_problem(path) == Problem(
        file=str(path), key=key, expected=expected, found=found, hint=hint
    )


def test_all_problems_of_all_files_come_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "lpu-v1"\n[vxm]\nalus = 0\nentry = 5\n[mxn]\nx = 1')
    (tmp_path / "b.toml").write_text('base = "lpu-v2"\n[core]\nlanes = "many"')
    problems = check_chips([tmp_path / "a.toml", tmp_path / "b.toml"])
    assert [(Path(p.file).name, p.key) for p in problems] == [
        ("a.toml", "vxm.alus"),
        ("a.toml", "vxm.entry"),
        ("a.toml", "mxn"),
        ("b.toml", "base"),
        ("b.toml", "core.lanes"),
    ]
    assert "did you mean 'lpu-v1'" in (problems[3].hint or "")


def test_a_file_without_base_must_state_every_fact_with_its_source(write: Write) -> None:
    problems = problems_of(
        write(
            'id = "x"\nname = "X"\n[sources]\nA = "a book"\n[vxm]\nalus = 16\n'
            'alu_cycles = { value = 3, unit = "cycles", kind = "published", source = "B" }'
        )
    )
    by_key = {problem.key: problem for problem in problems}
    assert by_key["vxm.alus"].expected == "a row { value, unit, kind, source, date }"
    assert by_key["vxm.alu_cycles.date"].found == "nothing"
    assert by_key["vxm.alu_cycles.source"].expected == "keys of [sources]"
    assert by_key["mem.banks"].expected == "a row"
    assert "vxm.entry_cycles" in by_key


def test_problems_of_a_broken_base_come_once(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('base = "lpu-v1"\n[vxm]\nalus = 0')
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text('base = "base.toml"')
    problems = check_chips([tmp_path / "a.toml", tmp_path / "b.toml"])
    assert [(Path(p.file).name, p.key) for p in problems] == [("base.toml", "vxm.alus")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"base = ", "TOML"),
        (b"\xff\xfe", "UTF-8 text"),
        (b"#" * (1 << 19), "at most 262144 bytes"),
        (b"x = " + b"[" * 50_000, "TOML"),
        (b"x = " + b"9" * 50_000, "TOML"),
        (b"x = 2020-13-45", "TOML"),
    ],
)
def test_what_is_not_toml_is_one_problem(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(data)
    problem = only_problem(path)
    assert (problem.key, problem.expected) == ("", expected)


@pytest.mark.parametrize("name", ["lpu-v2", "lpuv1.toml", "\0.toml", "x" * 5000 + ".toml", "", "."])
def test_a_name_that_is_nothing_gets_a_hint(name: str) -> None:
    with pytest.raises(UsageError, match="no chip") as caught:
        load_chip(name)
    assert "lpu-v1" in (caught.value.hint or "")
