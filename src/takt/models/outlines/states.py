"""Mixers that keep a state instead of a cache: delta rules, linear attention, state spaces, convolutions.

Sizes follow the reference implementations in transformers and flash-linear-attention; the few numbers of short
convolutions' and decay rates' weights are left out of `matrices`, those of their states are not.
"""

from takt.errors import ModelError

from ..shape import LIMITS
from .fields import Fields
from .outline import Attention

__all__ = ["delta_rule", "lightning", "mamba", "mamba2", "rwkv", "short_convolution"]

_HEADS = LIMITS["n_heads"]
_WIDTH = LIMITS["head_dim"]


def _state(matrices: tuple[tuple[int, int], ...], elements: int, element_bytes: int) -> Attention:
    return Attention(
        kind="linear",
        matrices=matrices,
        state_elements=elements,
        state_element_bytes=element_bytes,
    )


def _element_bytes(config: Fields, default: int) -> int:
    """Bytes of a number of the state, where the config says in which type it is kept."""
    kept = config.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype")
    return {"float32": 4, "float16": 2, "bfloat16": 2}.get(kept, default)


def delta_rule(config: Fields, dim: int) -> Attention:
    """Gated delta net (Qwen3-Next, Qwen3.5), or Kimi's delta attention where `linear_attn_config` sizes it."""
    kimi = config.part("linear_attn_config")
    if kimi is not None:
        return _kimi_delta(kimi, dim)
    if config.has("linear_num_heads"):  # the same, as transformers writes it
        return _kimi_delta(config, dim)
    key_heads = config.integer("linear_num_key_heads", high=_HEADS)
    value_heads = config.integer("linear_num_value_heads", high=_HEADS)
    key_dim = config.integer("linear_key_head_dim", high=_WIDTH)
    value_dim = config.integer("linear_value_head_dim", high=_WIDTH)
    kernel = config.integer("linear_conv_kernel_dim", default=4, high=64)
    keys, values = key_heads * key_dim, value_heads * value_dim
    # Queries, keys, values and the gate, then two rates a head, then the way back.
    matrices = ((2 * keys + 2 * values, dim), (2 * value_heads, dim), (dim, values))
    elements = value_heads * key_dim * value_dim + (2 * keys + values) * max(kernel - 1, 0)
    return _state(matrices, elements, _element_bytes(config, 4))


def _kimi_delta(config: Fields, dim: int) -> Attention:
    n_heads = config.integer("linear_num_heads", "num_heads", high=_HEADS)
    head_dim = config.integer("linear_head_dim", "head_dim", high=_WIDTH)
    kernel = config.integer("linear_conv_kernel_dim", "short_conv_kernel_size", default=4, high=64)
    width = n_heads * head_dim
    low = ((head_dim, dim), (width, head_dim))  # decay and gate come through a waist of one head
    gate = ((width, dim),) if config.flag("use_full_rank_gate") else low
    matrices = ((width, dim),) * 3 + low + gate + ((n_heads, dim), (dim, width))
    return _state(matrices, width * (head_dim + 3 * max(kernel - 1, 0)), 4)


def lightning(dim: int, n_heads: int, head_dim: int) -> Attention:
    """Linear attention with a decay and an output gate (MiniMax-01)."""
    width = n_heads * head_dim
    return _state(((3 * width, dim), (width, dim), (dim, width)), width * head_dim, 4)


def mamba2(config: Fields, dim: int) -> Attention:
    """A state space with one decay a head (Mamba 2, Nemotron-H, Granite 4)."""
    n_heads = config.integer("mamba_num_heads", "mamba_n_heads", "num_heads", high=_HEADS)
    inner = config.integer("mamba_head_dim", "mamba_d_head", "head_dim", high=_WIDTH) * n_heads
    groups = config.integer("n_groups", "mamba_n_groups", default=1, high=_HEADS)
    state = config.integer("ssm_state_size", "mamba_d_state", "state_size", high=_WIDTH)
    kernel = config.integer("conv_kernel", "mamba_d_conv", default=4, high=64)
    mixed = inner + 2 * groups * state
    matrices = ((inner + mixed + n_heads, dim), (dim, inner))
    return _state(matrices, inner * state + mixed * max(kernel - 1, 0), _element_bytes(config, 2))


def mamba(config: Fields, dim: int) -> Attention:
    """A state space whose steps depend on the input (Mamba, Jamba)."""
    inner = dim * config.integer("mamba_expand", "expand", default=2, high=64)
    state = config.integer("mamba_d_state", "state_size", default=16, high=_WIDTH)
    rank = config.integer("mamba_dt_rank", "time_step_rank", default=-(-dim // 16))
    kernel = config.integer("mamba_d_conv", "conv_kernel", default=4, high=64)
    matrices = ((2 * inner, dim), (rank + 2 * state, inner), (inner, rank), (dim, inner))
    return _state(matrices, inner * (state + max(kernel - 1, 0)), _element_bytes(config, 2))


def rwkv(config: Fields, dim: int) -> Attention:
    """RWKV-4: receptance, key, value and output, a state of five vectors."""
    width = config.integer("attention_hidden_size", default=dim)
    # The gate of its feed-forward block is a square matrix, listed here as every token meets it.
    matrices = ((width, dim),) * 3 + ((dim, width), (dim, dim))
    return _state(matrices, 5 * dim, 4)


def short_convolution(config: Fields, dim: int) -> Attention:
    """A gated convolution over few positions (LFM2)."""
    kernel = config.integer("conv_L_cache", default=3, high=1024)
    if not kernel:
        raise ModelError("conv_L_cache is 0, expected at least 1")
    return _state(((3 * dim, dim), (dim, dim)), dim * (kernel - 1), 2)
