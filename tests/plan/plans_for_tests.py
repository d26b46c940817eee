"""Plans made by hand: what a search answers, in the kinds that exports and reports must show."""

from takt.plan.layout import Layout
from takt.plan.plans import (
    Dropped,
    Figures,
    Limits,
    Measure,
    Plan,
    PlanPool,
    PlanSet,
    Targets,
    WhatIf,
)

__all__ = [
    "FLEETS",
    "attention_ffn",
    "disaggregated",
    "experts",
    "figures",
    "gpu_and_lpu",
    "gpu_only",
    "lpu_only",
    "plan_of",
    "plan_set",
    "pool",
    "two_nodes",
    "unmet",
]


def pool(**changes: object) -> PlanPool:
    """Eight replicas of Llama-3.3-70B on four H100 each, and what differs."""
    values: dict[str, object] = {
        "chip": "h100-sxm",
        "name": "NVIDIA H100 SXM",
        "kind": "gpu",
        "role": "both",
        "replicas": 8,
        "chips": 4,
        "layout": Layout(tp=4),
        "weights": "fp8",
        "experts": "",
        "kv": "fp8",
        "engine": "vllm",
        "max_seqs": 256,
        "max_step_tokens": 8192,
        "block_tokens": 16,
        "kv_tokens": 1_048_576,
        "usd_per_h": 9.96,
        "w": 2520.0,
    }
    return PlanPool(**{**values, **changes})  # type: ignore[arg-type]


def figures(scale: float = 1.0, **changes: object) -> Figures:
    """Latencies `scale` times as long, costs too."""

    def measures(mean: float) -> dict[str, Measure]:
        at = {"mean": 1.0, "p50": 0.9, "p90": 1.6, "p99": 2.4}
        return {
            name: Measure(mean=mean * scale * share, half_width=0.01 * mean * scale)
            for name, share in at.items()
        }

    def curve(mean: float) -> tuple[tuple[float, float], ...]:
        return tuple((mean * scale * (0.5 + i / 10), i / 20) for i in range(21))

    values: dict[str, object] = {
        "ttft_s": measures(0.21),
        "tpot_s": measures(0.014),
        "e2e_s": measures(3.2),
        "goodput": 0.993,
        "throughput_tok_s": 10_600.0,
        "tokens_per_s_user": 71.4 / scale,
        "utilisation": 0.71,
        "kv_occupancy": 0.34,
        "usd_per_h": 79.68 * scale,
        "usd_per_mtok": 2.088 * scale,
        "j_per_token": 1.9 * scale,
        "mw": 0.0202 * scale,
        "floor_m2": 2.4,
        "kg_co2_per_mtok": 0.21 * scale,
        "requests": 20_000,
        "replications": 5,
        "curves": {"ttft_s": curve(0.21), "tpot_s": curve(0.014), "e2e_s": curve(3.2)},
    }
    return Figures(**{**values, **changes})  # type: ignore[arg-type]


def plan_of(name: str, *pools: PlanPool, scale: float = 1.0, **changes: object) -> Plan:
    """A plan of those pools that meets its targets, and what differs."""
    values: dict[str, object] = {
        "id": name,
        "pools": pools,
        "router": "least-loaded",
        "figures": figures(scale),
        "meets": True,
        "misses": (),
        "basis": frozenset({"roofline", "measured: kernels of h100-sxm"}),
        "expected_error": 0.08,
        "assumed": (),
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def gpu_only() -> Plan:
    """tp4 × 8 replicas on H100."""
    return plan_of("8x h100-sxm tp4 fp8 vllm", pool())


def disaggregated() -> Plan:
    """Prompts on H100, tokens on H200, with another engine's words in `engine`."""
    return plan_of(
        "4x h100-sxm tp4 prompt + 3x h200-sxm tp8 decode",
        pool(role="prompt", replicas=4, max_seqs=16, max_step_tokens=16384),
        pool(chip="h200-sxm", name="NVIDIA H200 SXM", role="decode", replicas=3, chips=8,
             layout=Layout(tp=8), usd_per_h=30.0, w=5600.0),
        scale=1.1,
        router="prefix-aware",
    )  # fmt: skip


def experts() -> Plan:
    """Experts over eight chips, attention copied (dp8 ep8), weights in fp4; drafts of two tokens."""
    return plan_of(
        "6x b200-sxm dp8 ep8 fp4 sglang",
        pool(chip="b200-sxm", name="NVIDIA B200 SXM", replicas=6, chips=8,
             layout=Layout(dp=8, ep=8), weights="fp8", experts="fp4", engine="sglang",
             draft_tokens=2, acceptance=0.7, usd_per_h=40.0, w=8000.0),
        scale=1.2,
    )  # fmt: skip


def two_nodes() -> Plan:
    """A replica of 16 chips, more than a node has: two stages of eight, by TensorRT-LLM in bf16."""
    return plan_of(
        "2x h100-sxm tp8 pp2 bf16 trtllm",
        pool(replicas=2, chips=16, layout=Layout(tp=8, pp=2), weights="bf16", kv="bf16",
             engine="trtllm", prefix_caching=False, usd_per_h=39.84, w=10_080.0),
        scale=1.3,
    )  # fmt: skip


def _lpus(**changes: object) -> PlanPool:
    values = {
        "chip": "groqrack-v1", "name": "GroqChip 1 in GroqRack", "kind": "lpu", "replicas": 2,
        "chips": 576, "layout": Layout(pp=576), "weights": "fp8", "kv": "fp16", "engine": "takt",
        "max_seqs": 64, "max_step_tokens": 64, "block_tokens": 1, "kv_tokens": 500_000,
        "usd_per_h": None, "w": 115_200.0,
    }  # fmt: skip
    return pool(**{**values, **changes})


def lpu_only() -> Plan:
    """Two lines of 576 LPUs; no price is known."""
    return plan_of(
        "2x groqrack-v1 576",
        _lpus(),
        figures=figures(0.3, usd_per_h=None, usd_per_mtok=None, floor_m2=None),
        basis=frozenset({"simulated"}),
        expected_error=None,
        assumed=("power.idle_w of lpu-v1",),
    )


def gpu_and_lpu() -> Plan:
    """Prompts on GPUs, tokens on LPUs."""
    return plan_of(
        "4x h100-sxm tp4 prompt + 1x groqrack-v1 576 decode",
        pool(role="prompt", replicas=4),
        _lpus(role="decode", replicas=1),
        figures=figures(0.4, usd_per_h=None, usd_per_mtok=None),
        assumed=("power.idle_w of lpu-v1",),
    )


def attention_ffn() -> Plan:
    """Attention on GPUs, feed-forward on LPUs: one replica shared by two kinds."""
    return plan_of(
        "1x h100-sxm attention + groqrack-v1 ffn",
        pool(role="attention", replicas=1),
        _lpus(role="ffn", replicas=1),
        scale=0.5,
    )


FLEETS = (gpu_only, disaggregated, experts, two_nodes, lpu_only, gpu_and_lpu, attention_ffn)


def plan_set(**changes: object) -> PlanSet:
    """All of the above as the answer to one question."""
    values: dict[str, object] = {
        "model": "llama-3.3-70b",
        "workload": "poisson 50/s, 1,137 prompt and 212 output tokens",
        "rate": 50.0,
        "prompt_tokens": 1137.0,
        "output_tokens": 212.0,
        "targets": Targets(),
        "limits": Limits(usd_per_h=500.0, chips=2048, supply={"h200-sxm": 512, "mi300x": 0}),
        "seed": 0,
        "pareto": (gpu_only(), disaggregated(), gpu_and_lpu(), lpu_only()),
        "others": (experts(), two_nodes(), attention_ffn()),
        "nearest": None,
        "dropped": (
            Dropped(id="l4 tp8", stage="fit", reason="too small: 9.3 GB of weights on each chip"),
            Dropped(id="a100-sxm tp8", stage="target", reason="31 ms a token at one user"),
            Dropped(id="b300-sxm tp8", stage="bound", reason="at least $3.10 per million tokens"),
        ),
        "proof": ("1 of 40 candidates fits no chip.", "No candidate left can cost under $2.09."),
        "what_ifs": (
            WhatIf(name="price of h100-sxm", value="+20 %", winner="8x h100-sxm tp4 fp8 vllm",
                   usd_per_mtok=2.51),
        ),
        "sensitivity": (
            WhatIf(name="price of groqrack-v1", value="$0 to $9 an hour", winner="2x groqrack-v1 576",
                   usd_per_mtok=None, threshold="wins below $0.14 an hour a chip"),
        ),
        "assumptions": (
            ("price of h100-sxm", "$2.49 an hour", "published", "a price list, 2026-05"),
            ("power.idle_w of lpu-v1", "50 W", "assumed", "half of what is drawn under load"),
        ),
    }  # fmt: skip
    return PlanSet(**{**values, **changes})  # type: ignore[arg-type]


def unmet() -> PlanSet:
    """No plan meets the targets; the nearest is named."""
    nearest = plan_of(
        "8x h100-sxm tp8 fp8 vllm",
        pool(chips=8, layout=Layout(tp=8)),
        meets=False,
        misses=("14 ms a token at the mean, wanted 1 ms",),
    )
    return plan_set(targets=Targets(tpot_s=0.001), pareto=(), others=(), nearest=nearest)
