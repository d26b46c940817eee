"""The benchmark runs and reports what docs/benchmarks.md lists. How fast anything is, no test asks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="what decoding is compared with")
pytest.importorskip("xllamacpp", reason="what runs models on this machine's processors")


def bench(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = repository / "benchmarks" / "bench.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(repository: Path) -> dict[str, Any]:
    done = bench(repository, "--quick", "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_section_reports_its_cases(quick: dict[str, Any]) -> None:
    sections = ("decode", "compile", "engines", "encoders", "systems", "serving", "host")
    assert set(quick) == {"machine", "perf", *sections}
    assert [len(quick[name]) for name in sections] == [1] * 7
    assert len(quick["perf"]) == 2  # steps priced, and a first answer


def test_this_machine_is_measured_beside_what_was_predicted(quick: dict[str, Any]) -> None:
    (case,) = quick["host"]
    ratio = case["measured_token_ms"]["median"] / 1e3 / case["predicted_token_s"]
    assert case["measured_over_predicted"] == pytest.approx(ratio)
    assert case["predicted_token_s"] > case["layer_s"] > 0
    assert case["predicted_prompt_s"] > 0


def test_priced_steps_take_longer_than_their_rooflines(quick: dict[str, Any]) -> None:
    steps, answer = quick["perf"]
    assert steps["n_steps"] == 20
    assert 1 < steps["over_roofline"] < 20
    assert steps["ratio"]["most"] <= steps["loop_ms"]["most"] / steps["ours_ms"]["least"]
    assert answer["command"] == "takt --version"
    assert answer["ratio"]["least"] > 0


def test_requests_are_simulated_by_both_engines(quick: dict[str, Any]) -> None:
    (case,) = quick["serving"]
    assert (case["requests"], case["slow_requests"]) == (50, 20)
    assert case["steps"] > 212
    assert case["ratio"]["least"] > 1


def test_the_bare_roofline_of_the_loop_counts_what_step_cost_counts(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from estimates import roofline_s

    from takt.chips import load_accelerator
    from takt.models.outlines import outline_of
    from takt.perf import Deployment, Precision

    chip = load_accelerator("h200-sxm")
    deployment = Deployment(chip=chip, precision=Precision(weights="fp8", kv="fp8"))
    model = outline_of("qwen3-8b")
    # One user without a cache reads each weight once, a byte each; of the tables only the head, but in 16 bits.
    assert roofline_s(model, deployment, 1, 0) == pytest.approx(
        model.n_parameters / chip.memory.bytes_per_s, rel=0.001
    )
    cache = 36 * 2 * 8 * 128 * 10_000  # layers, keys and values, heads, width, positions
    longer = roofline_s(model, deployment, 1, 10_000) - roofline_s(model, deployment, 1, 0)
    assert longer == pytest.approx(cache / chip.memory.bytes_per_s, rel=0.001)


def test_a_system_reports_what_the_verb_says(quick: dict[str, Any]) -> None:
    (case,) = quick["systems"]
    assert 0 < case["bound_cycles"] <= case["step_cycles"]
    assert case["tokens_per_s_user"] > 0


def test_the_model_of_transformers_is_the_same_model(quick: dict[str, Any]) -> None:
    (case,) = quick["decode"]
    assert 0 < case["logit_error"] < 0.01  # f16 weights and tables against f32: close, not equal


def test_a_ratio_is_ours_over_theirs(quick: dict[str, Any]) -> None:
    (case,) = quick["decode"]
    ours, theirs = case["ours_tokens_per_s"], case["theirs_tokens_per_s"]
    assert ours["least"] / theirs["most"] <= case["ratio"]["median"]
    assert case["ratio"]["median"] <= ours["most"] / theirs["least"]


def test_both_engines_agree_on_cycles_and_logits(quick: dict[str, Any]) -> None:
    (case,) = quick["engines"]
    assert case["same_logits"]
    assert case["fast_over_reference"] > 1
    (compiled,) = quick["compile"]
    assert compiled["cycles"] == case["cycles_per_step"]
    assert compiled["cycles"] >= compiled["bound_cycles"] > 0


def test_an_unknown_section_is_refused(repository: Path) -> None:
    done = bench(repository, "--only", "decoding")
    assert done.returncode == 2
    assert "no section decoding" in done.stderr
