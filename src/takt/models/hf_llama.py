"""`config.json` of the dense Llama line: Llama, Mistral, Qwen2, Qwen3.

One struct with the defaults of `transformers` (a config leaves out what equals its default), one subclass for
each way to differ. What Takt does not compute raises UnsupportedError, never a silent approximation.
"""

import math
from collections.abc import Sequence

from .hf_common import TokenIds, activation, bounded
from .hf_rope import RopeConfig
from .shape import LIMITS, ModelShape

_QKV = ("attn.q", "attn.k", "attn.v")


def typed_windows(layer_types: Sequence[str], window: int | None) -> tuple[int | None, ...]:
    """`window` for the layers that attend to a sliding window, None for the others."""
    return tuple(window if kind == "sliding_attention" else None for kind in layer_types)


class LlamaConfig(TokenIds, frozen=True, kw_only=True):
    """Llama itself (SmolLM too)."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: RopeConfig | None = None
    rope_parameters: RopeConfig | None = None
    attention_bias: bool = False
    mlp_bias: bool = False

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        n_layers = bounded("num_hidden_layers", self.num_hidden_layers, LIMITS["n_layers"])
        n_heads = bounded("num_attention_heads", self.num_attention_heads, LIMITS["n_heads"])
        head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // n_heads
        head_dim = bounded("head_dim", head_dim, LIMITS["head_dim"])
        rope = self._rope()
        return ModelShape(
            name=name,
            family="decoder",
            architecture=architecture,
            n_layers=n_layers,
            dim=self.hidden_size,
            n_heads=n_heads,
            n_kv_heads=n_heads if self.num_key_value_heads is None else self.num_key_value_heads,
            head_dim=head_dim,
            hidden_dim=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_context=self.max_position_embeddings,
            norm="rms",
            norm_eps=self.rms_norm_eps,
            activation=activation(self.hidden_act),
            gated=True,
            position="rope",
            attention_scale=self._attention_scale(head_dim),
            windows=self._windows(n_layers),
            rope_theta=self.rope_theta if rope.rope_theta is None else rope.rope_theta,
            rope_scaling=rope.scaling(self.max_position_embeddings),
            tied_embeddings=self.tie_word_embeddings,
            biases=self._biases(),
            qk_norm=self._qk_norm(),
            bos_id=self.bos_token_id,
            eos_ids=self.eos_ids(),
        )

    def _biases(self) -> tuple[str, ...]:
        attention = (*_QKV, "attn.o") if self.attention_bias else ()
        return (*attention, "ffn.gate", "ffn.up", "ffn.down") if self.mlp_bias else attention

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        return (None,) * n_layers

    def _qk_norm(self) -> bool:
        return False

    def _rope(self) -> RopeConfig:
        return self.rope_parameters or self.rope_scaling or RopeConfig()

    def _attention_scale(self, head_dim: int) -> float:
        # Yarn's factor on cos and sin is on queries and on keys: scores grow by its square.
        gain = self._rope().gain(self.max_position_embeddings)
        return gain * gain / math.sqrt(head_dim)


class MistralConfig(LlamaConfig, frozen=True, kw_only=True):
    """Mistral: every layer windowed unless the config says null."""

    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 4096 * 32
    sliding_window: int | None = 4096

    def _biases(self) -> tuple[str, ...]:
        return ()

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        return (self.sliding_window,) * n_layers


class Qwen2Config(LlamaConfig, frozen=True, kw_only=True):
    """Qwen2: biases on q, k, v; windows on the later layers if switched on."""

    num_key_value_heads: int | None = 32
    max_position_embeddings: int = 32768
    sliding_window: int | None = 4096
    use_sliding_window: bool = False
    max_window_layers: int = 28
    layer_types: list[str] | None = None

    def _biases(self) -> tuple[str, ...]:
        return _QKV

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        window = self.sliding_window if self.use_sliding_window else None
        if self.layer_types is not None:
            return typed_windows(self.layer_types, window)
        return tuple(
            window if layer >= self.max_window_layers else None for layer in range(n_layers)
        )


class Qwen3Config(Qwen2Config, frozen=True, kw_only=True):
    """Qwen3: q and k normalised per head, head size of its own."""

    head_dim: int | None = 128

    def _biases(self) -> tuple[str, ...]:
        return (*_QKV, "attn.o") if self.attention_bias else ()

    def _qk_norm(self) -> bool:
        return True
