"""`takt compare`: rows as JSON, table, CSV and picture, and its mistakes."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.cli.arguments import prices_of, seconds_of
from takt.cli.compare_chips import (
    DEFAULT_CHIPS,
    DEFAULT_PAIRS,
    choose_chips,
    choose_pair,
    default_chips,
)
from takt.errors import TaktError, UsageError

from .conftest import Documented, Takt

MODEL = "llama-3.1-8b"
PROMISED = {
    "chip",
    "chips",
    "ttft_ms",
    "tokens_per_s_user",
    "tokens_per_s_chip",
    "j_per_token",
    "usd_per_mtok",
    "basis",
    "expected_error",
}
NAMES = ("h100-sxm", "H200", "lpu-v1", "groqrack-v1", "single", "lp30", "x.toml", "tpu-v5e", "")
OWN_CHIP = """\
base = "h100-sxm"
id = "mine"
name = "Twice the memory rate"
[memory]
bytes_per_s = 6.7e12
"""


def rows_of(takt: Takt, *arguments: object) -> list[dict[str, Any]]:
    status, out, err = takt("compare", MODEL, *arguments, "--json")
    assert (status, err) == (0, ""), err
    rows = json.loads(out)
    assert isinstance(rows, list)
    return rows


def test_json_is_a_list_of_rows_with_the_documented_keys(
    takt: Takt, documented: Documented
) -> None:
    rows = rows_of(takt, "--chips", "h200-sxm,h100-sxm", "--prompt", 1024, "--output", 256)
    assert [row["chip"] for row in rows] == ["h200-sxm", "h100-sxm"]
    for row in rows:
        assert set(row) == documented("compare")
        assert set(row) >= PROMISED
        assert row["chips"] == 1
        layout = row["layout"]
        assert layout["chips"] == layout["tp"] * layout["pp"] * layout["dp"]
        assert row["tpot_ms"] <= row["target_tpot_ms"] == 20
        assert row["ttft_ms"] <= row["target_ttft_ms"] == 1000
        assert row["tokens_per_s_user"] >= 50
        assert 0 < row["expected_error"] < 1
        assert "measured" in row["basis"]
        assert row["reason"] is None


def test_costs_are_the_price_of_an_hour_over_its_tokens(takt: Takt) -> None:
    (row,) = rows_of(takt, "--chips", "h200-sxm", "--price", "h200-sxm=2.5")
    assert row["usd_per_chip_h"] == 2.5 and row["price_kind"] == "given"
    assert row["usd_per_mtok"] == pytest.approx(2.5e6 / 3600 / row["tokens_per_s_chip"])


def test_owned_and_rented_prices_differ_and_are_dated(takt: Takt) -> None:
    (rent,) = rows_of(takt, "--chips", "h200-sxm")
    (own,) = rows_of(takt, "--chips", "h200-sxm", "--own")
    assert (rent["price_kind"], own["price_kind"]) == ("rent", "own")
    assert rent["usd_per_chip_h"] != own["usd_per_chip_h"]
    assert rent["price_date"] and rent["price_source"]


def test_a_speed_is_a_time_per_token(takt: Takt) -> None:
    by_speed = rows_of(takt, "--chips", "h100-sxm", "--speed", 40)
    by_time = rows_of(takt, "--chips", "h100-sxm", "--tpot", "25ms")
    assert by_speed == by_time
    assert by_time == rows_of(takt, "--chips", "h100-sxm", "--tpot", "0.025s")


def test_a_chip_file_of_ones_own_is_compared(takt: Takt, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(OWN_CHIP, encoding="utf-8")
    mine, base = rows_of(takt, "--chips", f"{file},h100-sxm")
    assert mine["chip"] == "mine"
    assert mine["tokens_per_s_user"] > base["tokens_per_s_user"]


def test_a_model_may_be_a_config(takt: Takt, tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    status, out, err = takt("compare", file, "--chips", "l40s", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)[0]["chips"] == 1


def test_chips_that_cannot_are_rows_with_a_reason(takt: Takt) -> None:
    small, slow = rows_of(
        takt, "--chips", "xeon-8480,h100-sxm", "--tpot", "0.1ms", "--max-chips", 1
    )
    for row in (small, slow):
        assert row["reason"].startswith("target missed: ")
        assert row["chips"] is row["tokens_per_s_chip"] is row["usd_per_mtok"] is None
        assert row["tokens_per_s_user"] > 0
    status, out, _ = takt("compare", "llama-3.3-70b", "--chips", "l40s", "--max-chips", 1, "--json")
    (row,) = json.loads(out)
    assert status == 0
    assert row["reason"].startswith("too small: ")
    assert row["tokens_per_s_user"] is row["basis"] is None or row["basis"] == ""


def test_lpus_answer_from_their_schedules(takt: Takt) -> None:
    (row,) = rows_of(takt, "--chips", "lpu-v1")
    assert row["chip"] == "lpu-v1"
    assert row["chips"] >= 36  # 8 GB in chips of 220 MiB
    assert "simulated" in row["basis"]
    assert row["tokens_per_s_user"] > 500
    assert row["known"]["j_per_token"]["expected_error"] is None
    (few,) = rows_of(takt, "--chips", "lpu-v1", "--max-chips", 8)
    assert few["reason"].startswith("too small: the model needs ")


def test_a_system_file_of_ones_own_is_compared(takt: Takt, tmp_path: Path) -> None:
    file = tmp_path / "slow.toml"
    file.write_text(
        'base = "groqrack-v1"\nid = "slow"\nname = "Slow"\n[host]\nlatency_ns = 90000\n',
        encoding="utf-8",
    )
    slow, racks = rows_of(takt, "--chips", f"{file},lpu-v1")
    assert slow["chip"] == "slow"
    assert slow["tokens_per_s_user"] < racks["tokens_per_s_user"]


def test_a_hybrid_adds_two_rows(takt: Takt) -> None:
    rows = rows_of(takt, "--chips", "h200-sxm", "--hybrid", "h200-sxm+lp30")
    assert [row["chip"] for row in rows] == [
        "h200-sxm",
        "h200-sxm + lp30 (prompt/tokens)",
        "h200-sxm + lp30 (attention/ffn)",
    ]
    tokens, ffn = rows[1:]
    for row in (tokens, ffn):
        assert 0 < row["first_chips"] < row["layout"]["chips"]
    alone = rows_of(takt, "--chips", "lp30")[0]
    assert tokens["tokens_per_s_user"] >= alone["tokens_per_s_user"] * 0.99
    assert ffn["expected_error"] is None


def test_the_table_says_target_prices_and_assumptions(takt: Takt) -> None:
    status, out, err = takt("compare", MODEL, "--chips", "h100-sxm,lpu-v1", "--price", "lpu-v1=0.2")
    assert (status, err) == (0, "")
    assert out.startswith(
        f"{MODEL}, 1,024 tokens in and 256 out; target 20 ms a token (50 tokens/s for each user), "
        "first token within 1 s\n\nCHIP "
    )
    assert "$ an hour, rented: h100-sxm " in out
    assert "$ an hour, as given: lpu-v1 0.2." in out
    assert "Assumed: " in out and "overheads of vllm" in out
    assert "exact" in out


def test_the_csv_has_the_same_rows(takt: Takt, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    rows = rows_of(takt, "--chips", "h100-sxm,a100-sxm", "--csv", file)
    with file.open(encoding="utf-8", newline="") as text:
        cells = list(csv.DictReader(text))
    assert [cell["chip"] for cell in cells] == ["h100-sxm", "a100-sxm"]
    for row, cell in zip(rows, cells, strict=True):
        assert float(cell["tokens_per_s_chip"]) == row["tokens_per_s_chip"]
        assert int(cell["layout_tp"]) == row["layout"]["tp"]
        assert float(cell["error_ttft_ms"]) == row["known"]["ttft_ms"]["expected_error"]
        assert cell["reason"] == ""


@pytest.mark.parametrize("per", ["chip", "mw"])
def test_the_picture_is_written(takt: Takt, tmp_path: Path, per: str) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "x.svg"
    status, _, _ = takt("compare", MODEL, "--chips", "h100-sxm,l40s", "--plot", file, "--per", per)
    assert status == 0
    text = file.read_text(encoding="utf-8")
    for word in ("h100-sxm", "l40s", "target 50", "MW" if per == "mw" else "each chip"):
        assert word in text


def test_a_picture_of_nothing_is_refused(takt: Takt, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, _, err = takt(
        "compare",
        "llama-3.3-70b",
        "--chips",
        "l40s",
        "--max-chips",
        1,
        "--plot",
        tmp_path / "x.png",
    )
    assert status == 2
    assert "nothing to draw" in err
    assert not (tmp_path / "x.png").exists()


def test_the_default_chips_are_in_the_catalogue() -> None:
    chosen = default_chips()
    assert len(DEFAULT_CHIPS) >= 20
    assert len(chosen.accelerators) == len(DEFAULT_CHIPS)
    assert [choose_pair(pair).lpu for pair in DEFAULT_PAIRS] == list(chosen.systems)


def test_without_chips_all_of_datacenters_are_rows(takt: Takt) -> None:
    rows = rows_of(takt)
    assert {*DEFAULT_CHIPS, "lpu-v1", "lp30"} <= {row["chip"] for row in rows}
    rates = [row["tokens_per_s_chip"] for row in rows]
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known, reverse=True)
    assert rates[: len(known)] == known


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--chips", "h20o-sxm"), "did you mean 'h200-sxm'?"),
        (("--chips", "h100-sxm,,l40s"), "expected names with commas between"),
        (("--chips", "h100-sxm,h100-sxm"), "'h100-sxm' is named twice"),
        (("--chips", "nowhere.toml"), "nowhere.toml"),
        (("--prompt", 0), "--prompt 0: expected 1 token or more"),
        (("--output", -1), "--output -1: expected 1 token or more"),
        (("--prompt", 200_000), "has 131,072 positions, fewer than 200,000 + 256"),
        (("--tpot", "0ms"), "--tpot '0ms' is no time"),
        (("--tpot", "fast"), "--tpot 'fast' is no time"),
        (("--ttft", "-1s"), "--ttft '-1s' is no time"),
        (("--speed", "0"), "--speed 0: expected tokens a second"),
        (("--speed", "nan"), "--speed nan: expected tokens a second"),
        (("--speed", "20", "--tpot", "20ms"), "say the same thing"),
        (("--precision", "fp5"), "did you mean 'fp"),
        (("--engine", "vlm"), "did you mean 'vllm'?"),
        (("--max-chips", 0), "max_chips is 0"),
        (("--price", "h100-sxm"), "is no price"),
        (("--price", "h100-sxm=free"), "is no price"),
        (("--price", "h10-sxm=2"), "did you mean 'h100-sxm'?"),
        (("--per", "rack"), "known are chip and mw"),
        (("--csv", "no/where.csv"), "there is no directory no"),
        (("--plot", "x.jpg"), ".png or .svg"),
        (("--hybrid", "h100-sxm"), "is no pair"),
        (("--hybrid", "lpu-v1+h100-sxm"), "first what reads the prompt"),
    ],
)
def test_mistakes_are_told(takt: Takt, arguments: tuple[object, ...], complaint: str) -> None:
    named = () if "--chips" in arguments else ("--chips", "h100-sxm")
    status, out, err = takt("compare", MODEL, *named, *arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_a_wrong_model_gets_a_near_miss(takt: Takt) -> None:
    status, out, err = takt("compare", "lama-3.1-8b", "--chips", "h100-sxm")
    assert (status, out) == (2, "")
    assert "did you mean" in err


def test_json_needs_no_matplotlib_no_rich_and_no_compiler() -> None:
    code = (
        "import sys; from takt.cli import main\n"
        "try: main(['compare', 'llama-3.1-8b', '--chips', 'h100-sxm', '--json'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'matplotlib', 'rich', 'torch', 'takt.lpu'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@given(st.text(max_size=30) | st.from_regex(r"[0-9.]{1,8} ?(us|ms|s)?", fullmatch=True))
def test_a_time_is_read_or_refused(text: str) -> None:
    try:
        seconds = seconds_of("--tpot", text)
    except UsageError as error:
        assert error.hint
    else:
        assert 0 < seconds <= 3600


@given(st.text(max_size=30) | st.floats().map(lambda usd: f"h100-sxm={usd}"))
def test_a_price_is_read_or_refused(text: str) -> None:
    try:
        prices = prices_of([text], ["h100-sxm"])
    except UsageError as error:
        assert error.hint
    else:
        assert set(prices) == {"h100-sxm"}
        assert 0 <= prices["h100-sxm"] <= 1e6


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("1.5s", 1.5), ("800us", 8e-4), ("20", 0.02)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert seconds_of("--tpot", text) == pytest.approx(seconds)


@given(st.text(max_size=40) | st.lists(st.sampled_from(NAMES), max_size=4).map(",".join))
def test_chips_are_found_or_refused(text: str) -> None:
    try:
        chosen = choose_chips(text)
    except TaktError as error:
        assert str(error)
    else:
        assert len(set(chosen.ids)) == len(chosen.accelerators) + len(chosen.systems)


@given(st.text(max_size=40) | st.lists(st.sampled_from(NAMES), max_size=3).map("+".join))
def test_a_pair_is_found_or_refused(text: str) -> None:
    try:
        pair = choose_pair(text)
    except TaktError as error:
        assert str(error)
    else:
        assert pair.gpu.id and pair.lpu and pair.source
