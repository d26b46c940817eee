"""Names as people and measurement files spell them: every one is resolved or has a reason."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.models.outlines import OUTLINES, Outline, find_outline, why_not

NAMES = (Path(__file__).parent / "outline_names.txt").read_text(encoding="utf-8").splitlines()
# Names in the measurement files whose sizes are not fully published, and what was assumed.
ASSUMED = {"DeciLM-7B": "assumed: the 67 key heads of its 32 layers spread evenly over them"}

SPELLINGS = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "llama2-70b-99.9": "llama-2-70b",
    "gptj-99": "gpt-j-6b",
    "dsr1": "deepseek-r1",
    "dsv4": "deepseek-v4-pro",
    "gptoss120b": "gpt-oss-120b",
    "kimik2.5": "kimi-k2.5",
    "minimaxm2.5": "minimax-m2.5",
    "Meta-Llama-3-8B": "llama-3-8b",
    "LLaMA v3.1 70B": "llama-3.1-70b",
    "LLaMA-3 8B": "llama-3-8b",
    "Llama-2-7b-hf": "llama-2-7b",
    "DeepSeek R1 14b": "qwen2.5-14b",
    "DeepSeek R1 671b": "deepseek-r1",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": "llama-3.3-70b",
    "zhipuai/GLM-5": "glm-5",
    "Qwen 3 235B A22B Thinking": "qwen3-235b-a22b",
    "microsoft/Phi-3-medium-4k-instruct": "phi-3-medium",
    "shisa-v2-llama3.1-8b": "llama-3.1-8b",
    "Llama 3.2:3b": "llama-3.2-3b",
    "bert-99": "bert-large",
    "google/codegemma-1.1-2b": "gemma-2b",
    "NVIDIA Nemotron 3 Super": "nemotron-3-super-120b-a12b",
}


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_spellings(spelling: str, name: str) -> None:
    outline = find_outline(spelling)
    assert outline is not None and outline.name == name
    assert why_not(spelling) == ""


@pytest.mark.parametrize(("spelling", "stored", "bits"), [
    ("nvidia/DeepSeek-R1-NVFP4", ("bf16", "fp4"), 0),
    ("nvidia/Qwen3-32B-NVFP4", ("fp4", ""), 0),
    ("Qwen3-14B-AWQ", ("int4", ""), 0),
    ("Llama-3.1-405B-Instruct-FP8", ("fp8", ""), 0),
    ("llama 7B Q4_K - Medium", ("int4", ""), 4.84),
    ("Qwen3-30B-A3B-UD-Q4_K_XL", ("int4", ""), 4.84),
    ("llama-2-7b.Q4_0", ("int4", ""), 4.5),
    ("qwen2 3B IQ4_XS - 4.25 bpw", ("int4", ""), 4.25),
    ("deepseek2 671B IQ4_K_R4 - 4.5 bpw", ("int4", ""), 4.5),
    ("Qwen3-32B-Q8_0", ("int8", ""), 8.5),
    ("gpt-oss-120b-F16", ("bf16", "mxfp4"), 0),
    ("gpt-oss-20b-mxfp4", ("bf16", "mxfp4"), 0),
    ("GLM-4.7-Flash-BF16", ("bf16", ""), 0),
    ("moonshotai/Kimi-K2.5", ("bf16", "int4"), 0),
])  # fmt: skip
def test_what_a_name_says_about_storage(
    spelling: str, stored: tuple[str, str], bits: float
) -> None:
    outline = find_outline(spelling)
    assert outline is not None
    assert (outline.stored, outline.stored_experts) == stored
    assert outline.stored_bits == bits


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_measurement_files_is_resolved_or_has_a_reason(name: str) -> None:
    outline = find_outline(name)
    if outline is None:
        assert len(why_not(name)) > 10
    else:
        assert outline.basis == ASSUMED.get(name, "published")


def test_few_names_of_language_models_have_no_outline() -> None:
    reasons = [why_not(name) for name in NAMES]
    unknown = [n for n, reason in zip(NAMES, reasons, strict=True) if reason.startswith("no such")]
    # Rows whose model is not named beyond its family, and one whose config is not known here.
    assert all("?B" in n or "bpw" in n or n == "Mistral Small 4" for n in unknown), unknown
    assert sum(reason == "" for reason in reasons) > 0.85 * len(NAMES)


@pytest.mark.parametrize(("name", "total", "active"), [
    ("Acme-14B-Instruct", 14e9, 14e9),
    ("acme/Giant-1.2T-A40B", 1.2e12, 40e9),
    ("Some-30B-A3B", 30e9, 3e9),
    ("Some-MoE-57B-A14B-FP8", 57e9, 14e9),
    ("mini-350M", 350e6, 350e6),
    ("Foo-8x7B-v3", 46.7e9, 12.9e9),
    ("new-E4B", 4e9, 4e9),
    ("devstral-2-123B-Instruct-2512", 123e9, 123e9),
])  # fmt: skip
def test_sizes_in_an_unknown_name_give_a_guess_that_says_so(
    name: str, total: float, active: float
) -> None:
    outline = find_outline(name)
    assert outline is not None and outline.basis == "assumed: sizes guessed from the name"
    assert outline.n_parameters == pytest.approx(total, rel=0.1)
    assert outline.n_active_parameters == pytest.approx(active, rel=0.25)
    assert outline.name == name


@settings(max_examples=150, deadline=None)
@given(st.floats(0.1, 2000), st.floats(0.01, 0.55))
def test_guesses_come_near_any_sizes(total_b: float, share: float) -> None:
    active_b = max(total_b * share, 0.5)
    dense = find_outline(f"unheard-{total_b:.1f}B")
    assert dense is not None
    assert dense.n_parameters / (float(f"{total_b:.1f}") * 1e9) == pytest.approx(1, abs=0.2)
    if total_b > 10 and active_b > 1.5 and active_b / total_b > 0.02:
        routed = find_outline(f"unheard-{total_b:.0f}B-A{active_b:.0f}B")
        assert routed is not None and routed.has_experts
        assert routed.n_parameters / (round(total_b) * 1e9) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", ["Z-Image-Turbo", "FLUX.1-dev", "resnet50", "dlrm-v2-99", "whisper",
                                  "Claude 4.5 Haiku", "stable-diffusion-xl", "llama ?B Q4_0", "", "x" * 5000])  # fmt: skip
def test_what_has_no_outline_has_a_reason_in_words(name: str) -> None:
    assert find_outline(name) is None
    assert len(why_not(name)) >= 10


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Za-z]{2,8}[-_ .:/][0-9A-Za-z.]{1,8}[-_ ][A-Za-z0-9_]{1,8}", fullmatch=True)
)
def test_any_text_is_answered(text: str) -> None:
    outline = find_outline(text)
    assert (outline is None) == (why_not(text) != "")
    assert outline is None or isinstance(outline, Outline)


def test_every_catalogue_name_and_alias_finds_its_own_entry() -> None:
    for name in OUTLINES:
        found = find_outline(name)
        assert found is not None, name
        same_sizes = (found.n_layers, found.dim) == (OUTLINES[name].n_layers, OUTLINES[name].dim)
        assert same_sizes, (name, found.name)


def test_ten_thousand_names_take_seconds_not_minutes() -> None:
    start = time.perf_counter()
    for _ in range(3):
        for name in NAMES:
            find_outline(name)
    assert time.perf_counter() - start < 10
