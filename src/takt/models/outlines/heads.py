"""Sizes that most token mixers of a config share, under the many names that configs have for them."""

from dataclasses import dataclass

from takt.errors import ModelError

from ..shape import LIMITS
from .fields import Fields

__all__ = ["Heads", "heads_of"]

_WITHOUT_HEADS = ("mamba", "mamba2", "falcon_mamba", "rwkv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Sizes that most mixers share."""

    dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    context: int


def heads_of(config: Fields, dim: int) -> Heads:
    """The sizes that a config states for its attention. ModelError where heads do not divide `dim`."""
    nested = config.part("attn_config") or config
    context = config.integer(
        "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "n_ctx",
        "max_sequence_length", "context_length", default=2048, high=1 << 26,
    )  # fmt: skip
    if config.text("model_type") in _WITHOUT_HEADS:
        return Heads(dim=dim, n_heads=0, n_kv_heads=0, head_dim=0, context=context)
    n_heads = config.integer(
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_heads",
        "attention_heads",
        high=LIMITS["n_heads"],
    )
    head_dim = config.integer(
        "head_dim", "attention_head_dim", "kv_channels", "d_kv", "qk_head_dim", default=0,
        high=LIMITS["head_dim"],
    )  # fmt: skip
    if not head_dim and not config.has("kv_lora_rank"):
        if not n_heads or dim % n_heads:
            raise ModelError(f"{n_heads} heads do not divide {dim} dimensions")
        head_dim = dim // n_heads
    if config.flag("multi_query") and not config.flag("new_decoder_architecture"):
        return Heads(dim=dim, n_heads=n_heads, n_kv_heads=1, head_dim=head_dim, context=context)
    n_kv_heads = nested.integer(
        "num_key_value_heads", "num_kv_heads", "kv_n_heads", "n_head_kv", "num_attention_groups",
        default=_kv_heads(config, n_heads), high=LIMITS["n_kv_heads"],
    )  # fmt: skip
    return Heads(
        dim=dim, n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=head_dim, context=context
    )


def _kv_heads(config: Fields, n_heads: int) -> int:
    """Keys and values of configs that say it their own way."""
    if config.flag("multi_query_attention"):  # ChatGLM
        return config.integer("multi_query_group_num", default=1, high=LIMITS["n_kv_heads"])
    return n_heads
