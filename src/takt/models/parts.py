"""Optional parts of a model: scaled rotary positions, mixtures of experts, latent attention.

Frozen records that a `ModelShape` holds where the model has such a part. Each refuses numbers that contradict
each other; what must agree with the rest of the shape is checked by `shape`. Knows no layers and no weights.
"""

import math
from dataclasses import dataclass
from typing import Literal

from takt.errors import ModelError

Scoring = Literal["softmax", "sigmoid", "softmax_topk"]

# Generous ceilings, checked before anything is sized by these numbers.
MAX_EXPERTS = 1 << 14
MAX_WIDTH = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than the trained one.

    `linear` divides every frequency by `factor`; `llama3` leaves short wavelengths alone, divides long ones
    and blends between; `factors` divides frequency *i* by `factors[i]` (rotary pairs of them); `yarn` blends by
    index, from `beta_fast` turns over the original context (kept) to `beta_slow` turns (divided), the two bounds
    rounded outwards to whole indices if `truncate`. What yarn does to the size of scores is in the shape's
    `attention_scale`.
    """

    kind: Literal["linear", "llama3", "factors", "yarn"]
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192
    factors: tuple[float, ...] = ()
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def __post_init__(self) -> None:
        numbers = (self.factor, self.low_freq_factor, self.high_freq_factor, *self.factors)
        numbers += (self.beta_fast, self.beta_slow)
        if not all(math.isfinite(x) and x > 0 for x in numbers) or self.original_context < 1:
            raise ModelError("rope scaling needs finite, positive factors")
        if self.kind == "llama3" and self.high_freq_factor < self.low_freq_factor:
            raise ModelError("llama3 rope scaling needs high_freq_factor >= low_freq_factor")
        if self.kind == "yarn" and self.beta_fast < self.beta_slow:
            raise ModelError("yarn rope scaling needs beta_fast >= beta_slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward block. Widths count elements.

    A router scores `n_experts` gated experts of width `hidden_dim` for each token; the `top_k` best work on it, and
    their weighted sum is the block's output. `n_shared` more experts, together `shared_hidden_dim` wide, work on
    every token with weight 1.

    - `first_dense_layers`: that many first layers have a dense block of the shape's `hidden_dim` instead;
      `layer_step`: after these, the last of every `layer_step` layers has experts (1: all of them).
    - `scoring`: weights are the softmax over all experts, the sigmoid of each, or the softmax over the chosen
      (`softmax_topk`). `norm_topk` then divides them by their sum; `routed_scale` multiplies them.
    - `n_groups`, `top_groups`: experts are chosen only from the `top_groups` groups whose two best scores have
      the largest sum.
    - `router_bias`: the router has a bias; `selection_bias`: a learned number an expert is added to scores when
      choosing, and only then (DeepSeek-V3).
    - `biases`: the experts' matrices have biases.
    - `swiglu_alpha`, `swiglu_limit`: with g and u the gate and up products, the middle is
      min(g, limit) · sigmoid(alpha · min(g, limit)) · (clip(u, ±limit) + 1) (gpt-oss) instead of act(g) · u.
    - `weighted_inputs`: weights multiply what goes into an expert, not what comes out (Llama 4).
    """

    n_experts: int
    top_k: int
    hidden_dim: int
    n_shared: int = 0
    shared_hidden_dim: int = 0
    first_dense_layers: int = 0
    layer_step: int = 1
    scoring: Scoring = "softmax"
    norm_topk: bool = False
    routed_scale: float = 1.0
    n_groups: int = 1
    top_groups: int = 1
    router_bias: bool = False
    selection_bias: bool = False
    biases: bool = False
    swiglu_alpha: float | None = None
    swiglu_limit: float | None = None
    weighted_inputs: bool = False

    def __post_init__(self) -> None:
        problems = _expert_problems(self)
        if problems:
            raise ModelError("impossible mixture of experts: " + "; ".join(problems))

    def in_layer(self, layer: int) -> bool:
        """Whether this layer's feed-forward block is a mixture."""
        return layer >= self.first_dense_layers and (layer + 1) % self.layer_step == 0


def _expert_problems(experts: Experts) -> list[str]:
    e = experts
    clamp = (e.swiglu_alpha, e.swiglu_limit)
    grouped = 1 <= e.top_groups <= e.n_groups <= e.n_experts and e.n_experts % e.n_groups == 0
    rules = (
        (1 <= e.n_experts <= MAX_EXPERTS, f"n_experts must be 1..{MAX_EXPERTS}"),
        (1 <= e.top_k <= e.n_experts, "top_k must be 1..n_experts"),
        (1 <= e.hidden_dim <= MAX_WIDTH, f"hidden_dim must be 1..{MAX_WIDTH}"),
        (0 <= e.shared_hidden_dim <= MAX_WIDTH, f"shared_hidden_dim must be 0..{MAX_WIDTH}"),
        (
            e.n_shared >= 0 and (e.n_shared > 0) == (e.shared_hidden_dim > 0),
            "n_shared and shared_hidden_dim go together",
        ),
        (e.first_dense_layers >= 0, "first_dense_layers must be at least 0"),
        (e.layer_step >= 1, "layer_step must be at least 1"),
        (math.isfinite(e.routed_scale) and e.routed_scale > 0, "routed_scale must be positive"),
        (grouped, "n_groups must divide n_experts, and top_groups be 1..n_groups"),
        (
            not grouped or e.top_k <= e.top_groups * (e.n_experts // e.n_groups),
            "top_k experts do not fit top_groups groups",
        ),
        ((clamp[0] is None) == (clamp[1] is None), "swiglu_alpha and swiglu_limit go together"),
        (
            all(x is None or (math.isfinite(x) and x > 0) for x in clamp),
            "swiglu_alpha and swiglu_limit must be positive",
        ),
    )
    return [text for fine, text in rules if not fine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention: keys and values of all heads are read off one short vector a position.

    The cache keeps `kv_rank` numbers (normalised) and one key of `rope_dim` rotated numbers that all heads share.
    A head's query and key are `nope_dim` unrotated and then `rope_dim` rotated numbers, its value `value_dim`.
    Queries come through a waist of `q_rank`, or straight from the hidden state where that is None.
    """

    q_rank: int | None = None
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int

    def __post_init__(self) -> None:
        sizes = (self.kv_rank, self.rope_dim, self.nope_dim, self.value_dim)
        if not all(1 <= size <= MAX_WIDTH for size in (*sizes, self.q_rank or 1)):
            raise ModelError(f"latent attention needs sizes of 1..{MAX_WIDTH}")
        if self.rope_dim % 2:
            raise ModelError("latent attention needs an even rope_dim")
