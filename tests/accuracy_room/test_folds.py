"""Rows left out: a prediction never depends on what was measured in its own group."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from takt.accuracy.folds import LEFT_OUT, groups_of, held_out_logs, judged
from takt.accuracy.held_out import WAYS
from takt.accuracy.observe import Observation, observations
from takt.accuracy.report import answers_to
from takt.errors import UsageError

Table = Callable[..., Path]


@pytest.fixture
def rows(table: Table) -> list[Observation]:
    """Two figures of three chips × three models × two loads, with scatter of their own."""
    rng = np.random.default_rng(11)
    lines = [
        {
            "chip": chip, "model": model, "engine": engine, "concurrency": n,
            "isl_tokens": 512, "osl_tokens": 128,
            "tpot_ms": round(10 * float(np.exp(rng.normal())), 3),
            "ttft_ms": round(100 * float(np.exp(rng.normal())), 3),
        }
        for chip in ("h100-sxm", "h200-sxm", "a100-sxm")
        for model, engine in (("llama-3.1-8b", "vllm"), ("qwen3-32b", "sglang"), ("mistral-7b", "vllm"))
        for n in (1, 16)
    ]  # fmt: skip
    found = observations(answers_to([table(*lines)]).computed)
    assert len(found) == 2 * len(lines)
    return found


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_a_prediction_does_not_know_its_own_group(rows: list[Observation], left_out: str) -> None:
    groups = groups_of(rows, left_out)
    before = held_out_logs(rows, left_out)
    for own in sorted(set(groups))[:3]:
        other = [
            replace(row, measured=row.measured + 3.0) if group == own else row
            for row, group in zip(rows, groups, strict=True)
        ]
        after = held_out_logs(other, left_out)
        mine = np.asarray([group == own for group in groups])
        np.testing.assert_allclose(after[mine], before[mine], atol=1e-9)
        assert np.abs(after[~mine] - before[~mine]).max() > 0.05


def test_what_the_other_groups_share_is_learned(rows: list[Observation]) -> None:
    slow = [replace(row, measured=row.computed + np.log(3.0)) for row in rows]
    for left_out in LEFT_OUT:
        left = held_out_logs(slow, left_out) - [row.measured for row in slow]
        assert np.median(np.abs(left)) < 0.3 * np.log(3.0), left_out


def test_judged_in_every_way_there_is(rows: list[Observation]) -> None:
    heard: list[tuple[int, int]] = []
    found = judged(rows, lambda done, n: heard.append((done, n)))
    assert set(found) == set(WAYS)
    assert heard == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal(found["computed"], [row.computed for row in rows])


def test_one_group_alone_can_not_be_left_out(rows: list[Observation]) -> None:
    one = [row for row in rows if row.situation.chip == "h100-sxm"]
    with pytest.raises(UsageError, match="at least two chips"):
        held_out_logs(one, "chip")
