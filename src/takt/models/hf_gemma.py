"""`config.json` of Gemma 2 and Gemma 3: norms on both sides of a block, scaled embeddings, alternating windows.

Their norms multiply by 1 + weight; the loader adds the 1, so nothing here says so. Defaults are those of
`transformers`.
"""

import math
from dataclasses import replace

import msgspec

from takt.errors import ModelError, UnsupportedError

from .hf_llama import LlamaConfig, typed_windows
from .hf_rope import RopeConfig
from .parts import RopeScaling
from .shape import ModelShape


class Gemma2Config(LlamaConfig, frozen=True, kw_only=True):
    """Gemma 2: capped scores and logits, every second layer windowed."""

    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    vocab_size: int = 256000
    num_key_value_heads: int | None = 4
    head_dim: int | None = 256
    max_position_embeddings: int = 8192
    hidden_act: str = "gelu_pytorch_tanh"
    hidden_activation: str | None = None  # the newer name of hidden_act
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 1
    query_pre_attn_scalar: float = 256
    sliding_window: int | None = 4096
    layer_types: list[str] | None = None
    attn_logit_softcapping: float | None = 50.0
    final_logit_softcapping: float | None = 30.0
    use_bidirectional_attention: bool | None = None

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        if self.use_bidirectional_attention:
            raise UnsupportedError("Gemma that attends both ways is not supported")
        if self.hidden_activation not in (None, "gelu_pytorch_tanh"):
            raise UnsupportedError(f"Gemma with activation {self.hidden_activation!r}")
        return replace(
            super().shape(name, architecture),
            activation="gelu_tanh",  # what Gemma computes, though older configs say "gelu"
            norm_place="both",
            embedding_scale=math.sqrt(self.hidden_size),
            attention_softcap=self.attn_logit_softcapping,
            logit_softcap=self.final_logit_softcapping,
        )

    def _attention_scale(self, head_dim: int) -> float:
        if not self.query_pre_attn_scalar > 0:
            raise ModelError("query_pre_attn_scalar must be positive")
        return 1.0 / math.sqrt(self.query_pre_attn_scalar)

    def _period(self) -> int:
        """One layer in so many sees everything."""
        return 2

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        if self.layer_types is not None:
            return typed_windows(self.layer_types, self.sliding_window)
        period = self._period()
        return tuple(
            self.sliding_window if (layer + 1) % period else None for layer in range(n_layers)
        )


class _RopeByLayer(RopeConfig, frozen=True):
    """Rotary parameters, one set or one for each kind of layer."""

    full_attention: RopeConfig | None = None
    sliding_attention: RopeConfig | None = None


class Gemma3TextConfig(Gemma2Config, frozen=True, kw_only=True):
    """Gemma 3, text: five windowed layers in six, these with a rotary theta of their own; q and k normalised."""

    vocab_size: int = 262208
    max_position_embeddings: int = 131072
    rope_theta: float = 1e6
    rope_local_base_freq: float = 10000.0
    rope_parameters: _RopeByLayer | None = None
    sliding_window_pattern: int = 6
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        return replace(super().shape(name, architecture), local_rope_theta=self._local_theta())

    def _local_theta(self) -> float:
        rope = self.rope_parameters
        local = rope.sliding_attention if rope is not None else None
        if local is None:
            return self.rope_local_base_freq
        scaling: RopeScaling | None = local.scaling(self.max_position_embeddings)
        if scaling is not None:
            raise UnsupportedError("Gemma with scaled rotary positions in its windows")
        return self.rope_local_base_freq if local.rope_theta is None else local.rope_theta

    def _rope(self) -> RopeConfig:
        rope = self.rope_parameters
        if rope is not None and rope.full_attention is not None:
            return rope.full_attention
        return rope or self.rope_scaling or RopeConfig()

    def _period(self) -> int:
        if self.sliding_window_pattern < 1:
            raise ModelError("sliding_window_pattern must be at least 1")
        return self.sliding_window_pattern

    def _qk_norm(self) -> bool:
        return True


class Gemma3Config(msgspec.Struct, frozen=True, kw_only=True):
    """Gemma 3 with eyes; only the text part is described."""

    text_config: Gemma3TextConfig

    def shape(self, name: str, architecture: str) -> ModelShape:
        """The shape of the text part."""
        return self.text_config.shape(name, architecture)
