"""Which feed-forward block each layer of a config has: dense or a mixture of experts, and how wide.

Knows the many names that configs use for the same few sizes. Knows no attention (`mixers`).
"""

from takt.errors import ModelError

from ..parts import MAX_EXPERTS, MAX_WIDTH
from .fields import Fields
from .outline import FeedForward

__all__ = ["blocks_of", "is_gated"]

# Families whose block is two matrices; everything newer is gated.
_UNGATED_LIST = (
    "gpt2 gptj gpt_neo gpt_neox gpt_bigcode opt bloom falcon RefinedWeb RefinedWebModel mpt phi codegen "
    "starcoder2 nemotron nemotron_h persimmon xglm biogpt rwkv bert roberta xlm-roberta camembert electra "
    "albert distilbert deberta-v2 mpnet nomic_bert t5 mt5 fuyu arcee apertus"
)
_UNGATED = frozenset(_UNGATED_LIST.split())
_WITHOUT_BLOCKS = ("mamba", "mamba2", "falcon_mamba")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_TOP_K = (
    "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_k",
    "moe_topk", "moe_top_k", "num_experts_per_topk",
)  # fmt: skip


def is_gated(config: Fields) -> bool:
    """Whether blocks have a gate beside the way up."""
    if "gated" in config.text("feed_forward_proj"):
        return True
    return config.text("model_type") not in _UNGATED


def blocks_of(config: Fields, dim: int, n_layers: int) -> list[FeedForward]:
    """One block a layer. ModelError where a width is missing or out of range."""
    if config.text("model_type") in _WITHOUT_BLOCKS:
        return [FeedForward(hidden_dim=0)] * n_layers
    n_matrices = 3 if is_gated(config) else 2
    experts = _experts(config, n_matrices)
    if experts is None:
        return _dense_layers(config, dim, n_layers, n_matrices)
    routed = _routed(config, n_layers)
    if all(routed):
        return [experts] * n_layers
    dense = FeedForward(hidden_dim=_dense_dim(config, dim), n_matrices=n_matrices)
    return [experts if on else dense for on in routed]


def _dense_layers(config: Fields, dim: int, n_layers: int, n_matrices: int) -> list[FeedForward]:
    widths = config.integers("intermediate_size")
    if widths is None:
        widths = (_dense_dim(config, dim),) * n_layers
    if len(widths) < n_layers:
        raise ModelError(f"intermediate_size has {len(widths)} widths, expected {n_layers}")
    shared = config.integer("num_kv_shared_layers", default=0)
    doubled = n_layers - shared if config.flag("use_double_wide_mlp") else n_layers
    return [
        FeedForward(hidden_dim=width * (2 if layer >= doubled else 1), n_matrices=n_matrices)
        for layer, width in enumerate(widths[:n_layers])
    ]


def _dense_dim(config: Fields, dim: int) -> int:
    """Width of dense blocks; families that state none take four times the model's."""
    nested = config.part("ffn_config") or config
    stated = nested.integer(
        "dense_intermediate_size", "intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_dim",
        "ffn_hidden_size", "inner_hidden_size", "d_ff", "hidden_dim", "feed_forward_hidden_size",
        default=0, high=MAX_WIDTH,
    )  # fmt: skip
    if stated:
        return stated
    ratio = config.number("expansion_ratio", default=4.0)
    if is_gated(config):
        raise ModelError("the config has no field 'intermediate_size'")
    return round(ratio * dim)


def _experts(config: Fields, n_matrices: int) -> FeedForward | None:
    """The mixture that a config states, None without one."""
    nested = config.part("ffn_config") or config
    n_experts = nested.integer(*_EXPERTS, default=0, high=MAX_EXPERTS)
    if n_experts < 2 or (config.has("enable_moe_block") and not config.flag("enable_moe_block")):
        return None
    top_k = nested.integer(*_TOP_K, high=MAX_EXPERTS)
    width = nested.integer(
        "moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size",
        "expert_ffn_hidden_size", "ffn_hidden_size", "intermediate_size", high=MAX_WIDTH,
    )  # fmt: skip
    if not 1 <= top_k <= n_experts or not width:
        raise ModelError(f"{top_k} of {n_experts} experts of width {width} make no sense")
    return FeedForward(
        hidden_dim=width,
        n_matrices=n_matrices,
        n_experts=n_experts,
        top_k=top_k,
        shared_dim=_shared_dim(config, width),
        expert_dim=config.integer(
            "moe_latent_size", "routed_expert_hidden_size", default=0, high=MAX_WIDTH
        ),
    )


def _shared_dim(config: Fields, width: int) -> int:
    """Width of what works on every token beside the routed experts."""
    model = config.text("model_type")
    if config.flag("enable_moe_block"):  # Gemma 4: the dense block stays, beside the experts
        return config.integer("intermediate_size", high=MAX_WIDTH)
    if model.startswith("llama4"):
        return width
    n_shared = config.integer(
        "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts",
        default=1 if model == "hunyuan_v1_moe" else 0, high=MAX_EXPERTS,
    )  # fmt: skip
    stated = config.integer(
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
        "shared_intermediate_size", "share_expert_dim", "share_expert_dims", default=0, high=MAX_WIDTH,
    )  # fmt: skip
    return stated or min(n_shared * width, MAX_WIDTH)


def _routed(config: Fields, n_layers: int) -> list[bool]:
    """Which layers have experts."""
    words = config.strings("mlp_layer_types")
    if words is not None:
        return _whole([word != "dense" for word in words], n_layers)
    pattern = config.integers("moe_layer_freq", "moe_layers_pattern")
    if pattern is not None:
        return _whole([one != 0 for one in pattern], n_layers)
    chosen = _chosen(config)
    if chosen is not None:
        return [layer in chosen for layer in range(n_layers)]
    first = config.integer("first_k_dense_replace", "moe_layer_start_index", default=0)
    last = config.integer("moe_layer_end_index", default=n_layers)
    step = config.integer(
        "decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", "moe_layer_freq",
        "expert_layer_period", default=1,
    )  # fmt: skip
    step = max(step, 1)
    # Most count the last of every `step` layers; Jamba says which.
    offset = config.integer("expert_layer_offset", default=step - 1) % step
    dense = config.integers("mlp_only_layers") or ()
    return [
        first <= layer <= last and layer % step == offset and layer not in dense
        for layer in range(n_layers)
    ]


def _chosen(config: Fields) -> frozenset[int] | None:
    """Layers with experts that are named one by one, as numbers or as text "4,5,6"."""
    numbers = config.integers("moe_layers")
    if numbers is None:
        text = config.text("moe_layers_enum")
        if not text:
            return None
        words = text.split(",")
        if not all(word.strip().isdecimal() and len(word) < 8 for word in words):
            raise ModelError(f"moe_layers_enum is {text[:80]!r}, expected numbers and commas")
        numbers = tuple(map(int, words))
    return frozenset(numbers)


def _whole(pattern: list[bool], n_layers: int) -> list[bool]:
    if len(pattern) < n_layers:
        raise ModelError(f"the config lists {len(pattern)} blocks, expected {n_layers}")
    return pattern[:n_layers]
