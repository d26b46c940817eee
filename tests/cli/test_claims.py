"""`takt claims`: rows as JSON and as text, and its mistakes."""

import json
from pathlib import Path

import pytest

from .conftest import Documented, Takt

KEYS = {"claim", "source", "published", "takt", "ratio", "why"}


def test_json_is_a_list_of_rows_with_the_documented_keys(
    takt: Takt, documented: Documented
) -> None:
    status, out, err = takt("claims", "--claim", "barrier", "--claim", "cholesky", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)
    assert [row["claim"] for row in rows] == ["barrier", "cholesky"]
    for row in rows:
        assert set(row) == documented("claims")
        assert set(row) >= KEYS
    assert (rows[0]["published"], rows[0]["takt"], rows[0]["ratio"]) == (35, 35, 1)
    assert (rows[1]["takt"], rows[1]["ratio"]) == (None, None)
    assert rows[1]["why"].startswith("not computed: ")


def test_one_claim_shows_its_source_and_conditions(takt: Takt) -> None:
    status, out, err = takt("claims", "--claim", "all-reduce-8")
    assert (status, err) == (0, "")
    for line in (
        "published     = 2.1 µs",
        "source        Abts et al.",
        "conditions ",
        "assumed       one vector",
    ):
        assert line in out


def test_a_wrong_id_gets_a_near_miss(takt: Takt) -> None:
    status, out, err = takt("claims", "--claim", "resnet50-latency")
    assert (status, out) == (2, "")
    assert "did you mean 'resnet-50-latency'?" in err


def test_the_picture_is_written(takt: Takt, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, _, _ = takt("claims", "--claim", "weight-load", "--plot", tmp_path / "x.svg")
    assert status == 0
    assert "All weights of all planes" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--plot", "x.jpg"), ".png or .svg"),
        (("--plot", "no/where.png"), "there is no directory no"),
        (("--jobs", "0"), "--jobs 0"),
    ],
)
def test_mistakes_are_found_before_anything_is_computed(
    takt: Takt, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("claims", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
