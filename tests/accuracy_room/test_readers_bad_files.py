"""Damaged, foreign and absurd files: skips with reasons, or one clear error; never a crash."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takt import files
from takt.accuracy import Defaults, read_cases
from takt.accuracy import table as table_module
from takt.errors import DataError, UsageError

DATA = Path(__file__).parent / "data"
SAMPLES = sorted(DATA.glob("*.csv"))
Write = Callable[..., Path]
PLAIN = {"chip": "h100", "model": "llama-3.1-8b", "isl_tokens": 1024, "osl_tokens": 128}


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_with_any_cells_become_cases_or_skips(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sample = data.draw(st.sampled_from(SAMPLES))
    with sample.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    junk = st.one_of(
        st.sampled_from(
            ["", "-1", "0", "inf", "-inf", "nan", "1e308", "1e400", "x", "1.5", "٣", "1_0"]
        ),
        st.text(
            alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
        ),
    )
    for _ in range(data.draw(st.integers(1, 6))):
        row = data.draw(st.integers(0, len(rows) - 1))
        rows[row][data.draw(st.integers(0, len(header) - 1))] = data.draw(junk)
    path = tmp_path_factory.mktemp("junk") / "junk.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    cases, skips = read_cases(path)
    assert sum(case.rows for case in cases) + len(skips) == len(rows)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"ttft_ms": "fast"}, "ttft_ms is not a number"),
        ({"ttft_ms": "1,5"}, "ttft_ms is not a number"),
        ({"ttft_ms": "1_000"}, "ttft_ms is not a number"),
        ({"ttft_ms": "-3"}, "ttft_ms is negative or absurd"),
        ({"ttft_ms": "inf"}, "ttft_ms is not finite"),
        ({"ttft_ms": "1e30"}, "ttft_ms is negative or absurd"),
        ({"ttft_ms": ""}, "no latency and no rate measured"),
        ({"concurrency": "", "load": "closed"}, "neither concurrency nor batch given"),
        ({"load": "sideways"}, "load not known"),
        ({"chip": ""}, "no chip"),
        ({"n_chips": "3", "tp": "2"}, "the split needs another number of chips than the row gives"),
        ({"tp": "2.5"}, "tp is not a whole number"),
        ({"tp": "0"}, "tp is negative or absurd"),
        ({"isl_tokens": "1e12"}, "isl_tokens is negative or absurd"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(
    table: Write, cells: dict[str, str], reason: str
) -> None:
    good = PLAIN | {"concurrency": 4, "ttft_ms": 20, "load": "", "n_chips": "", "tp": ""}
    cases, skips = read_cases(table(good, good | cells))
    assert len(cases) == 1
    assert [(skip.where, skip.reason) for skip in skips] == [("mine.csv:3", reason)]


def test_commas_between_thousands_are_read(table: Write) -> None:
    (case,), _ = read_cases(table(PLAIN | {"concurrency": 4, "output_tok_s": "12,345.5"}))
    assert case.measured.output_tokens_per_s == 12345.5


def test_a_row_of_another_width_is_skipped_and_blank_lines_are_not_rows(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text(
        "chip,model,isl_tokens,osl_tokens,concurrency,tpot_ms\n"
        "h100,llama,10,10,1,5\n\nh100,llama,10,10,1\nh100,llama,10,10,1,5,6\n"
    )
    cases, skips = read_cases(path)
    assert len(cases) == 1
    assert {skip.reason for skip in skips} == {"number of cells differs from the header's"}
    assert [skip.where for skip in skips] == ["ragged.csv:4", "ragged.csv:5"]


def test_a_header_that_is_nearly_known_names_the_table_and_what_is_missing(tmp_path: Path) -> None:
    lines = (DATA / "inferencex.csv").read_text().splitlines()
    path = tmp_path / "near.csv"
    path.write_text(lines[0].replace("median_tpot_s", "median_tpott_s") + "\n" + lines[1] + "\n")
    with pytest.raises(UsageError) as caught:
        read_cases(path)
    assert "nearest is 'inferencex'" in caught.value.message
    assert "missing: median_tpot_s" in caught.value.message
    assert caught.value.hint is not None
    assert "median_tpott_s" in caught.value.hint


def test_a_header_that_is_nothing_known_names_the_plain_table(table: Write) -> None:
    with pytest.raises(
        UsageError, match=r"nearest is 'plain'.*missing: chip, isl_tokens, model"
    ) as e:
        read_cases(table({"gpu": "h100", "name": "llama", "isl_token": 3}))
    assert str(e.value.hint).startswith("isl_tokens: did you mean 'isl_token'?")


def test_a_plain_table_without_a_measurement_is_refused(table: Write) -> None:
    with pytest.raises(UsageError, match=r"one of .*tpot_ms"):
        read_cases(table(PLAIN | {"concurrency": 1}))


def test_a_known_table_may_lack_what_the_caller_says(tmp_path: Path) -> None:
    with (DATA / "splitwise_llm_perf_power.csv").open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)][:1]
    del rows[0]["hardware"]
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UsageError, match="missing: hardware"):
        read_cases(path)
    assert read_cases(path, Defaults(chip="a100-80gb"))[0][0].chip == "a100-80gb"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is empty"):
        read_cases(path)


def test_a_header_without_rows_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "head.csv"
    path.write_text((DATA / "inferencex.csv").read_text().splitlines()[0] + "\n")
    assert read_cases(path) == ([], [])


def test_a_cut_off_gzip_file_is_an_error(tmp_path: Path) -> None:
    packed = gzip.compress((DATA / "inferencex.csv").read_bytes())
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_cases(path)


def test_a_gzip_file_is_known_by_its_bytes_and_a_table_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "whatever.txt"
    path.write_bytes(gzip.compress((DATA / "argonne_llm_inference_bench.csv").read_bytes()))
    cases, _ = read_cases(path)
    assert {case.dataset for case in cases} == {"argonne"}


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    with (DATA / "aic_silicon_e2e.csv").open(newline="") as file:
        rows = [dict(reversed(row.items())) | {"mine": "x"} for row in csv.DictReader(file)]
    path = tmp_path / "turned.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    turned, straight = read_cases(path)[0], read_cases(DATA / "aic_silicon_e2e.csv")[0]
    assert [case.series for case in turned] == [case.series for case in straight]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mark.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (DATA / "inferencex.csv").read_bytes())
    assert read_cases(path)[0]


def test_limits_on_lines_and_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.csv"
    path.write_text("chip,model\n" + "x" * 300 + ",y\n")
    monkeypatch.setattr(files, "_MOST_LINE_BYTES", 200)
    with pytest.raises(DataError, match="line 2 is longer than 200 bytes"):
        list(table_module.rows_of(path))
    monkeypatch.setattr(files, "_MOST_LINE_BYTES", 1000)
    monkeypatch.setattr(table_module, "MAX_BYTES", 250)
    with pytest.raises(DataError, match="more than 250 bytes"):
        list(table_module.rows_of(path))
    with pytest.raises(DataError, match="more than 250 bytes"):
        table_module.text_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"chip,model\n\xff\xfe,x\n", "UTF-8"),
        (b"chip\0,model\n", "zero byte"),
        (b'chip,model\n"' + b"x" * 200_000 + b'",y\n', "field larger"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "binary.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(table_module.rows_of(path))


def test_a_missing_file_a_folder_and_a_column_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't read"):
        read_cases(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="can't read"):
        read_cases(tmp_path)
    path = tmp_path / "twice.csv"
    path.write_text("chip,chip\na,b\n")
    with pytest.raises(UsageError, match="two columns of the same name: chip"):
        read_cases(path)
