"""`config.json` of the families with a mixture of experts: Mixtral, Qwen3-MoE, gpt-oss, DeepSeek-V3 (Kimi K2), Llama 4.

Each is the Llama line with another feed-forward block (and DeepSeek with latent attention). Defaults are those of
`transformers`. What Takt does not describe raises UnsupportedError.
"""

import math
from dataclasses import replace
from typing import Literal

import msgspec

from takt.errors import ModelError, UnsupportedError

from .hf_common import TokenIds, activation, bounded
from .hf_llama import LlamaConfig, MistralConfig, Qwen3Config, typed_windows
from .hf_rope import RopeConfig
from .parts import Experts, Latent
from .shape import LIMITS, ModelShape


class MixtralConfig(MistralConfig, frozen=True, kw_only=True):
    """Mixtral: the experts take the place of the dense block in every layer."""

    rms_norm_eps: float = 1e-5
    rope_theta: float = 1e6
    sliding_window: int | None = None
    num_experts_per_tok: int = 2
    num_local_experts: int = 8

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        experts = Experts(
            n_experts=self.num_local_experts,
            top_k=self.num_experts_per_tok,
            hidden_dim=self.intermediate_size,
            scoring="softmax_topk",
        )
        return replace(super().shape(name, architecture), experts=experts)


class Qwen3MoeConfig(Qwen3Config, frozen=True, kw_only=True):
    """Qwen3-MoE: many narrow experts, chosen after a softmax over all."""

    head_dim: int | None = None
    num_key_value_heads: int | None = 4
    moe_intermediate_size: int = 768
    num_experts_per_tok: int = 8
    num_experts: int | None = None
    num_local_experts: int | None = None  # the newer name of num_experts
    norm_topk_prob: bool = False
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] | None = None

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        experts = Experts(
            n_experts=self.num_experts or self.num_local_experts or 128,
            top_k=self.num_experts_per_tok,
            hidden_dim=self.moe_intermediate_size,
            norm_topk=self.norm_topk_prob,
            first_dense_layers=self._first_dense(),
            layer_step=self.decoder_sparse_step,
        )
        return replace(super().shape(name, architecture), experts=experts)

    def _first_dense(self) -> int:
        dense = self.mlp_only_layers or []
        if sorted(dense) != list(range(len(dense))):
            raise UnsupportedError(f"dense layers {dense} that are not the first are not supported")
        return len(dense)


class GptOssConfig(LlamaConfig, frozen=True, kw_only=True):
    """gpt-oss: biases everywhere, clamped SwiGLU, attention sinks, every second layer windowed."""

    head_dim: int | None = 64
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 150000.0
    attention_bias: bool = True
    sliding_window: int | None = 128
    layer_types: list[str] | None = None
    num_experts_per_tok: int = 4
    num_local_experts: int = 128
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        experts = Experts(
            n_experts=self.num_local_experts,
            top_k=self.num_experts_per_tok,
            hidden_dim=self.intermediate_size,
            scoring="softmax_topk",
            router_bias=True,
            biases=True,
            swiglu_alpha=self.swiglu_alpha,
            swiglu_limit=self.swiglu_limit,
        )
        return replace(super().shape(name, architecture), experts=experts, attention_sinks=True)

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        if self.layer_types is not None:
            return typed_windows(self.layer_types, self.sliding_window)
        return tuple(None if layer % 2 else self.sliding_window for layer in range(n_layers))

    def _rope(self) -> RopeConfig:
        usual = RopeConfig(
            rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, truncate=False
        )
        return self.rope_parameters or self.rope_scaling or usual


class DeepseekV3Config(TokenIds, frozen=True, kw_only=True):
    """DeepSeek-V3, R1 and Kimi K2: latent attention, grouped sigmoid routing, shared experts, dense first layers."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: RopeConfig | None = None
    rope_parameters: RopeConfig | None = None
    rope_interleave: bool = True
    attention_bias: bool = False
    q_lora_rank: int | None = 1536
    kv_lora_rank: int = 512
    qk_rope_head_dim: int = 64
    qk_nope_head_dim: int = 128
    v_head_dim: int = 128
    n_routed_experts: int = 256
    n_shared_experts: int = 1
    num_experts_per_tok: int = 8
    moe_intermediate_size: int = 2048
    first_k_dense_replace: int = 3
    moe_layer_freq: int = 1
    n_group: int = 8
    topk_group: int = 4
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5
    scoring_func: Literal["sigmoid"] = "sigmoid"
    topk_method: Literal["noaux_tc"] = "noaux_tc"

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        n_layers = bounded("num_hidden_layers", self.num_hidden_layers, LIMITS["n_layers"])
        if self.attention_bias or self.moe_layer_freq != 1:
            raise UnsupportedError("DeepSeek with attention biases or skipped layers")
        rope = self.rope_parameters or self.rope_scaling or RopeConfig()
        latent = self._latent()
        head_dim = latent.nope_dim + latent.rope_dim
        return ModelShape(
            name=name,
            family="decoder",
            architecture=architecture,
            n_layers=n_layers,
            dim=self.hidden_size,
            n_heads=self.num_attention_heads,
            n_kv_heads=self.num_attention_heads,
            head_dim=head_dim,
            hidden_dim=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_context=self.max_position_embeddings,
            norm="rms",
            norm_eps=self.rms_norm_eps,
            activation=activation(self.hidden_act),
            gated=True,
            position="rope",
            attention_scale=self._attention_scale(rope, head_dim),
            windows=(None,) * n_layers,
            rope_theta=self.rope_theta if rope.rope_theta is None else rope.rope_theta,
            rope_interleaved=self.rope_interleave,
            rope_scaling=rope.scaling(self.max_position_embeddings),
            tied_embeddings=self.tie_word_embeddings,
            experts=self._experts(),
            latent=latent,
            bos_id=self.bos_token_id,
            eos_ids=self.eos_ids(),
        )

    def _attention_scale(self, rope: RopeConfig, head_dim: int) -> float:
        if rope.gain(self.max_position_embeddings) != 1.0:
            raise UnsupportedError("yarn with mscale other than mscale_all_dim is not supported")
        gain = rope.all_dim_gain(self.max_position_embeddings)
        return gain * gain / math.sqrt(head_dim)

    def _latent(self) -> Latent:
        return Latent(
            q_rank=self.q_lora_rank,
            kv_rank=self.kv_lora_rank,
            rope_dim=self.qk_rope_head_dim,
            nope_dim=self.qk_nope_head_dim,
            value_dim=self.v_head_dim,
        )

    def _experts(self) -> Experts:
        return Experts(
            n_experts=self.n_routed_experts,
            top_k=self.num_experts_per_tok,
            hidden_dim=self.moe_intermediate_size,
            n_shared=self.n_shared_experts,
            shared_hidden_dim=self.n_shared_experts * self.moe_intermediate_size,
            first_dense_layers=self.first_k_dense_replace,
            scoring="sigmoid",
            norm_topk=self.norm_topk_prob,
            routed_scale=self.routed_scaling_factor,
            n_groups=self.n_group,
            top_groups=self.topk_group,
            selection_bias=True,
        )


class Llama4TextConfig(LlamaConfig, frozen=True, kw_only=True):
    """The text part of Llama 4. Its sizes only: `not_computed` names what is missing from the rest."""

    head_dim: int | None = 128
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 4096 * 32
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    intermediate_size_mlp: int = 16384
    num_local_experts: int = 16
    num_experts_per_tok: int = 1
    interleave_moe_layer_step: int = 1
    attention_chunk_size: int | None = 8192
    no_rope_layer_interval: int = 4
    use_qk_norm: bool = True

    def shape(self, name: str, architecture: str) -> ModelShape:
        """What this config describes. ModelError or UnsupportedError where it is none of ours."""
        experts = Experts(
            n_experts=self.num_local_experts,
            top_k=self.num_experts_per_tok,
            hidden_dim=self.intermediate_size,
            n_shared=1,
            shared_hidden_dim=self.intermediate_size,
            layer_step=self.interleave_moe_layer_step,
            scoring="sigmoid",
            weighted_inputs=True,
        )
        norms = ("q/k norms without gains",) if self.use_qk_norm else ()
        return replace(
            super().shape(name, architecture),
            experts=experts,
            hidden_dim=self.intermediate_size_mlp,
            rope_interleaved=True,
            not_computed=(
                "attention in chunks",
                "layers without positions",
                *norms,
                "scores scaled by position",
            ),
        )

    def _windows(self, n_layers: int) -> tuple[int | None, ...]:
        if self.no_rope_layer_interval < 1:
            raise ModelError("no_rope_layer_interval must be at least 1")
        return tuple(
            self.attention_chunk_size if (layer + 1) % self.no_rope_layer_interval else None
            for layer in range(n_layers)
        )


class Llama4Config(msgspec.Struct, frozen=True, kw_only=True):
    """Llama 4 with eyes; only the text part is described."""

    text_config: Llama4TextConfig

    def shape(self, name: str, architecture: str) -> ModelShape:
        """The shape of the text part."""
        return self.text_config.shape(name, architecture)
