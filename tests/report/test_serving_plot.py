"""Pictures of a fleet: what is drawn is what was found, and the same figures give the same bytes."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving.runs import requests, split_fleet

from takt.errors import UnsupportedError, UsageError
from takt.report import plot
from takt.report.serving_plot import write_latency_plot, write_timeline_plot
from takt.serving.outcome import Collector, Outcome
from takt.serving.reference import run
from takt.serving.timeline import Series, Timeline

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def seen() -> tuple[Outcome, dict[str, Series]]:
    """What a small run showed."""
    fleet = split_fleet()
    collector, timeline = Collector(fleet), Timeline(fleet)
    totals = run(
        [requests(150, rate=30)], fleet, seed=0, finished=collector.finished, events=timeline.add
    )
    return Outcome.of(fleet, collector, totals), dict(timeline.series())


def texts(path: Path) -> str:
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_a_timeline_names_its_pools_and_panels(
    seen: tuple[Outcome, dict[str, Series]], tmp_path: Path
) -> None:
    path = tmp_path / "t.svg"
    write_timeline_plot(path, seen[1], title="1 reads, 2 write")
    found = texts(path)
    for text in (
        "1 reads, 2 write",
        "requests waiting",
        "KV cache in use",
        "read",
        "write",
        "100 %",
    ):
        assert text in found


def test_a_latency_plot_marks_percentiles_and_targets(
    seen: tuple[Outcome, dict[str, Series]], tmp_path: Path
) -> None:
    path, (outcome, _) = tmp_path / "l.svg", seen
    write_latency_plot(path, {"x": outcome}, title="t", targets={"tpot": 0.012, "e2e": 60})
    found = texts(path)
    assert outcome.ttft_ms is not None and outcome.tpot_ms is not None
    assert f"p99  {outcome.ttft_ms.p99:,.3g} ms" in found
    assert f"p50  {outcome.tpot_ms.p50:,.3g} ms" in found
    assert "target 12 ms" in found
    assert "→" in found  # a minute is far beyond what is drawn


def test_several_outcomes_have_a_legend(
    seen: tuple[Outcome, dict[str, Series]], tmp_path: Path
) -> None:
    path = tmp_path / "l.svg"
    write_latency_plot(path, {"one plan": seen[0], "another": seen[0]}, title="two")
    assert "one plan" in texts(path)
    assert "another" in texts(path)
    assert "p99" not in texts(path)


def test_the_same_figures_are_the_same_bytes(
    seen: tuple[Outcome, dict[str, Series]], tmp_path: Path
) -> None:
    written = []
    for name in "ab":
        png, svg = tmp_path / f"{name}.png", tmp_path / f"{name}.svg"
        write_latency_plot(png, {"x": seen[0]}, title="t", targets={"ttft": 0.02})
        write_timeline_plot(svg, seen[1], title="t")
        written.append((png.read_bytes(), svg.read_bytes()))
    assert written[0] == written[1]
    assert written[0][0].startswith(b"\x89PNG")
    assert written[0][1].startswith(b"<?xml")


def test_many_looks_are_drawn_by_their_ends_too(tmp_path: Path) -> None:
    """A queue that is long for a moment is seen in a picture that has fewer places than looks."""
    n = 5_000
    waiting: NDArray[np.int64] = np.zeros(n, np.int64)
    zero = np.zeros(n)
    flat, peaked = waiting.copy(), waiting.copy()
    peaked[2_500] = 90
    sizes = []
    for queue in (flat, peaked):
        series = Series(time_s=np.arange(n) / 10, running=flat, waiting=queue, up=flat + 1, kv=zero)
        write_timeline_plot(tmp_path / "t.svg", {"gpu": series}, title="t")
        sizes.append("80" in texts(tmp_path / "t.svg").split())
    assert sizes == [False, True]  # the scale reaches the peak


def test_nothing_to_draw_is_said(
    seen: tuple[Outcome, dict[str, Series]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.png"
    with pytest.raises(UsageError, match="nothing to draw"):
        write_timeline_plot(path, {}, title="t")
    with pytest.raises(UsageError, match="nothing to draw"):
        write_latency_plot(path, {}, title="t")
    with pytest.raises(UsageError, match="no latency 'ttfs'"):
        write_latency_plot(path, {"x": seen[0]}, title="t", targets={"ttfs": 1.0})
    monkeypatch.setattr(plot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="pictures need matplotlib"):
        write_latency_plot(path, {"x": seen[0]}, title="t")
    assert not path.exists()
