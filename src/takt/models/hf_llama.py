"""`config.json` of the Llama line: Llama, Mistral, Qwen2, Qwen3.

One struct with the defaults of `transformers` (a config leaves out what equals its default), one subclass for
each way to differ. What Takt does not compute raises UnsupportedError, never a silent approximation.
"""

import math

import msgspec

from takt.errors import UnsupportedError

from .hf_common import TokenIds, activation, bounded
from .shape import LIMITS, ModelShape, RopeScaling

_QKV = ("attn.q", "attn.k", "attn.v")


class _Rope(msgspec.Struct, frozen=True):
    rope_type: str | None = None
    type: str | None = None  # the older name of rope_type
    rope_theta: float | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    partial_rotary_factor: float = 1.0


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
    rope_scaling: _Rope | None = None
    rope_parameters: _Rope | None = None
    attention_bias: bool = False
    mlp_bias: bool = False

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        n_layers = bounded("num_hidden_layers", self.num_hidden_layers, LIMITS["n_layers"])
        n_heads = bounded("num_attention_heads", self.num_attention_heads, LIMITS["n_heads"])
        head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // n_heads
        head_dim = bounded("head_dim", head_dim, LIMITS["head_dim"])
        theta, scaling = self._rope()
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
            attention_scale=1.0 / math.sqrt(head_dim),
            windows=self._windows(n_layers),
            rope_theta=theta,
            rope_scaling=scaling,
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

    def _rope(self) -> tuple[float, RopeScaling | None]:
        rope = self.rope_parameters or self.rope_scaling or _Rope()
        theta = rope.rope_theta if rope.rope_theta is not None else self.rope_theta
        if rope.partial_rotary_factor != 1.0:
            raise UnsupportedError("rotary positions on part of a head are not supported")
        kind = rope.rope_type or rope.type or "default"
        if kind == "default":
            return theta, None
        if kind == "linear":
            return theta, RopeScaling(kind="linear", factor=rope.factor)
        if kind == "llama3":
            return theta, RopeScaling(
                kind="llama3",
                factor=rope.factor,
                low_freq_factor=rope.low_freq_factor,
                high_freq_factor=rope.high_freq_factor,
                original_context=rope.original_max_position_embeddings,
            )
        raise UnsupportedError(
            f"rope scaling {kind!r} is not supported", hint="supported: default, linear, llama3"
        )


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
            return tuple(
                window if kind == "sliding_attention" else None for kind in self.layer_types
            )
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
