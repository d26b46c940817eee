"""GPUs and LPUs together: the closed forms against a small simulation of who waits for whom."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import takt.perf.lpu_hybrid as hybrid
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.perf.lpu import (
    Link,
    LpuDeployment,
    LpuStepModel,
    afd_step,
    kv_transfer_s,
    link_of,
    split_ttft_s,
)

DIM = 1000


def link(latency_s: float, bytes_per_s: float = 1e12) -> Link:
    return Link(id="l", name="l", bytes_per_s=bytes_per_s, latency_s=latency_s, basis=frozenset())


def simulated_step(
    attend: float, feed: float, sent: float, wait: float, layers: int, batches: int
) -> float:
    """Seconds between two tokens of a micro-batch, long after the start: every station serves in order of arrival."""
    free: dict[object, float] = {}
    ready = [(0.0, 0, batch, 0, 0) for batch in range(batches)]  # when, step, batch, layer, station
    done: dict[int, list[float]] = {batch: [] for batch in range(batches)}
    steps = 12
    stations = (("gpu", attend, 0.0), ("up", sent, wait), ("ffn", feed, 0.0), ("down", sent, wait))
    while ready:
        ready.sort()
        now, step, batch, layer, at = ready.pop(0)
        name, busy, late = stations[at]
        key = (name, layer) if name == "ffn" else name
        start = max(now, free.get(key, 0.0))
        free[key] = start + busy
        end, at = start + busy + late, at + 1
        if at == len(stations):
            at, layer = 0, layer + 1
        if layer == layers:
            done[batch].append(end)
            step, layer = step + 1, 0
        if step < steps:
            ready.append((end, step, batch, layer, at))
    last = done[0]
    return (last[-1] - last[-5]) / 4


@settings(max_examples=60, deadline=None)
@given(
    attend=st.integers(1, 30),
    feed=st.integers(1, 30),
    sent=st.integers(1, 10),
    wait=st.integers(0, 30),
    layers=st.integers(1, 5),
    batches=st.integers(1, 5),
)
def test_split_layers_take_as_long_as_simulated(
    attend: int, feed: int, sent: int, wait: int, layers: int, batches: int
) -> None:
    """At least the closed form, which no order of service can go below, and at most a quarter more."""
    way = link(float(wait), bytes_per_s=2.0 * DIM / sent)
    formula = afd_step(
        attend, feed, dim=DIM, n_layers=layers, users=batches, link=way, microbatches=batches
    )
    simulated = simulated_step(attend, feed, sent, wait, layers, batches)
    assert simulated >= float(formula) * (1 - 1e-9)
    assert simulated <= float(formula) * 1.25


def test_taking_turns_hides_the_crossing() -> None:
    way = link(10e-6)
    one = afd_step(20e-6, 20e-6, dim=DIM, n_layers=80, users=1, link=way, microbatches=1)
    # Two half batches of half the time each: the GPUs work on one while the other crosses.
    two = afd_step(10e-6, 10e-6, dim=DIM, n_layers=80, users=1, link=way, microbatches=2)
    assert two < one
    assert float(one) == pytest.approx(80 * (40e-6 + 2 * (10e-6 + 2 * DIM / 1e12)))


def test_split_layers_are_elementwise() -> None:
    made = afd_step(
        np.full(3, 1e-5), 1e-5, dim=DIM, n_layers=4, users=np.array([1, 2, 4]), link=link(0)
    )
    assert made.shape == (3,)


@given(prompt=st.floats(0, 10), sent=st.floats(0, 10), parts=st.integers(1, 50))
def test_a_cache_sent_by_layers_crosses_while_others_are_computed(
    prompt: float, sent: float, parts: int
) -> None:
    at = 0.0
    for part in range(parts):  # a part crosses when its layers are done and the link is free
        at = max(at, (part + 1) * prompt / parts) + sent / parts
    made = float(split_ttft_s(prompt, sent, 0.25, layers_sent=parts))
    assert made == pytest.approx(at + 0.25, abs=1e-9)


def test_the_cache_of_a_prompt_crosses_in_bytes_over_rate() -> None:
    model, way = outline_of("llama-3.3-70b"), link(1e-5, bytes_per_s=50e9)
    n_bytes = 80 * 2 * 8 * 128 * 2 * 4096
    assert kv_transfer_s(model, 4096, way) == pytest.approx(1e-5 + n_bytes / 50e9)
    assert kv_transfer_s(model, 4096, way, n_links=8) == pytest.approx(1e-5 + n_bytes / 400e9)


def test_every_fact_of_a_link_has_a_known_source() -> None:
    text = (Path(hybrid.__file__).parent / "data" / "lpu_links.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    sources = table.pop("sources")
    assert len(table) >= 3
    for name, row in table.items():
        found = link_of(name)
        assert found.bytes_per_s == row["bytes_per_s"]["value"] * row["share"]["value"]
        for key, fact in row.items():
            if key != "name":
                assert set(fact["source"].split(", ")) <= set(sources), (name, key)
                assert fact["note"]
                assert fact["date"]


def test_bad_links_and_counts_are_refused() -> None:
    with pytest.raises(UsageError) as wrong:
        link_of("ethernet-40")
    assert "ethernet-400" in (wrong.value.hint or "")
    with pytest.raises(UsageError):
        link(0).send_s(1, 0)
    with pytest.raises(UsageError):
        split_ttft_s(1, 1, 1, layers_sent=0)
    with pytest.raises(UsageError):
        afd_step(1, 1, dim=1, n_layers=0, users=1, link=link(0))
    with pytest.raises(UsageError):
        kv_transfer_s(outline_of("llama-3.1-8b"), -1, link(0))


def test_a_layers_feed_forward_is_less_than_a_layer() -> None:
    for name in ("llama-3.3-70b", "gpt-oss-20b", "qwen3-8b"):
        steps = LpuStepModel.of(name, LpuDeployment(system="lpx-rack", with_host=False))
        layer = float(steps.decode(1, 2047).time_s) / outline_of(name).n_layers
        assert 0.05 * layer < steps.ffn_s_per_layer() < layer
