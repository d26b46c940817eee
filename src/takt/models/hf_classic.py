"""`config.json` of the families with learned positions: GPT-2, GPT-Neo, BERT.

Defaults are those of `transformers`. What Takt does not compute raises UnsupportedError.
"""

import math
from typing import Literal

import msgspec

from takt.errors import UnsupportedError

from .hf_common import Sizes, TokenIds, activation, bounded
from .shape import UNGATED_PARTS, ModelShape


class Gpt2Config(TokenIds, frozen=True, kw_only=True):
    """GPT-2: fused q, k, v stored [in, out]."""

    n_embd: int
    n_layer: int
    n_head: int
    vocab_size: int
    n_positions: int = 1024
    n_inner: int | None = None
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"
    tie_word_embeddings: bool = True
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        if self.scale_attn_by_inverse_layer_idx or self.add_cross_attention:
            raise UnsupportedError("GPT-2 with layer-scaled or cross attention is not supported")
        sizes = Sizes(layers=self.n_layer, heads=self.n_head, dim=self.n_embd)
        return ModelShape(
            name=name,
            family="decoder",
            architecture=architecture,
            n_layers=sizes.n_layers,
            dim=self.n_embd,
            n_heads=self.n_head,
            n_kv_heads=self.n_head,
            head_dim=sizes.head_dim,
            hidden_dim=4 * self.n_embd if self.n_inner is None else self.n_inner,
            vocab_size=self.vocab_size,
            max_context=self.n_positions,
            norm="layer",
            norm_eps=self.layer_norm_epsilon,
            activation=activation(self.activation_function),
            gated=False,
            position="learned",
            attention_scale=1.0 / math.sqrt(sizes.head_dim) if self.scale_attn_weights else 1.0,
            windows=(None,) * sizes.n_layers,
            tied_embeddings=self.tie_word_embeddings,
            biases=UNGATED_PARTS,
            bos_id=self.bos_token_id,
            eos_ids=self.eos_ids(),
        )


class GptNeoConfig(TokenIds, frozen=True, kw_only=True):
    """GPT-Neo: layers alternate between global and windowed attention, scores unscaled."""

    hidden_size: int
    num_layers: int
    num_heads: int
    vocab_size: int
    max_position_embeddings: int = 2048
    intermediate_size: int | None = None
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"
    tie_word_embeddings: bool = True
    window_size: int = 256
    attention_layers: list[Literal["global", "local"]] | None = None
    attention_types: list[tuple[list[Literal["global", "local"]], int]] | None = None

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        sizes = Sizes(layers=self.num_layers, heads=self.num_heads, dim=self.hidden_size)
        kinds = self._kinds(sizes.n_layers)
        return ModelShape(
            name=name,
            family="decoder",
            architecture=architecture,
            n_layers=sizes.n_layers,
            dim=self.hidden_size,
            n_heads=self.num_heads,
            n_kv_heads=self.num_heads,
            head_dim=sizes.head_dim,
            hidden_dim=4 * self.hidden_size
            if self.intermediate_size is None
            else self.intermediate_size,
            vocab_size=self.vocab_size,
            max_context=self.max_position_embeddings,
            norm="layer",
            norm_eps=self.layer_norm_epsilon,
            activation=activation(self.activation_function),
            gated=False,
            position="learned",
            attention_scale=1.0,  # GPT-Neo was trained without the usual 1/sqrt(head_dim)
            windows=tuple(self.window_size if kind == "local" else None for kind in kinds),
            tied_embeddings=self.tie_word_embeddings,
            biases=("attn.o", "ffn.up", "ffn.down"),
            bos_id=self.bos_token_id,
            eos_ids=self.eos_ids(),
        )

    def _kinds(self, n_layers: int) -> list[Literal["global", "local"]]:
        """Attention of each layer; `attention_types` is a run-length code, the older of the two keys."""
        if self.attention_types is None:
            return self.attention_layers or [
                "local" if layer % 2 else "global" for layer in range(n_layers)
            ]
        kinds: list[Literal["global", "local"]] = []
        for group, times in self.attention_types:
            bounded("attention_types repeat", times, n_layers)
            bounded("layers in attention_types", len(kinds) + len(group) * times, n_layers)
            kinds.extend(group * times)
        return kinds


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """BERT as an encoder: norms after each block, token types."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    is_decoder: bool = False

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        if self.position_embedding_type != "absolute" or self.is_decoder:
            raise UnsupportedError("BERT is supported as an encoder with absolute positions only")
        sizes = Sizes(
            layers=self.num_hidden_layers, heads=self.num_attention_heads, dim=self.hidden_size
        )
        return ModelShape(
            name=name,
            family="encoder",
            architecture=architecture,
            n_layers=sizes.n_layers,
            dim=self.hidden_size,
            n_heads=self.num_attention_heads,
            n_kv_heads=self.num_attention_heads,
            head_dim=sizes.head_dim,
            hidden_dim=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_context=self.max_position_embeddings,
            norm="layer",
            norm_eps=self.layer_norm_eps,
            norm_place="post",
            activation=activation(self.hidden_act),
            gated=False,
            position="learned",
            attention_scale=1.0 / math.sqrt(sizes.head_dim),
            windows=(None,) * sizes.n_layers,
            biases=UNGATED_PARTS,
            embedding_norm=True,
            n_token_types=self.type_vocab_size,
        )
