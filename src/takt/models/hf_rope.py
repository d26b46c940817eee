"""How Hugging Face configs state rotary positions: `rope_parameters`, or the older `rope_scaling` beside `rope_theta`.

Knows every kind that Takt computes; the others raise UnsupportedError. Defaults are those of `transformers`.
"""

import math

import msgspec

from takt.errors import UnsupportedError

from .parts import RopeScaling


class RopeConfig(msgspec.Struct, frozen=True):
    """One set of rotary parameters."""

    rope_type: str | None = None
    type: str | None = None  # the older name of rope_type
    rope_theta: float | None = None
    factor: float | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int | None = None
    partial_rotary_factor: float = 1.0
    beta_fast: float | None = None
    beta_slow: float | None = None
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None

    @property
    def kind(self) -> str:
        """The kind of scaling, by whichever name it goes."""
        return self.rope_type or self.type or "default"

    def scaling(self, max_context: int) -> RopeScaling | None:
        """The scaling, None for the default. UnsupportedError for a kind that Takt does not compute."""
        if self.partial_rotary_factor != 1.0:
            raise UnsupportedError("rotary positions on part of a head are not supported")
        original = self.original_max_position_embeddings
        if self.kind == "default":
            return None
        if self.kind == "linear":
            return RopeScaling(kind="linear", factor=self.factor or 1.0)
        if self.kind == "llama3":
            return RopeScaling(
                kind="llama3",
                factor=self.factor or 1.0,
                low_freq_factor=self.low_freq_factor,
                high_freq_factor=self.high_freq_factor,
                original_context=8192 if original is None else original,
            )
        if self.kind == "yarn":
            return RopeScaling(
                kind="yarn",
                factor=self._yarn_factor(max_context),
                beta_fast=self.beta_fast or 32.0,
                beta_slow=self.beta_slow or 1.0,
                original_context=max_context if original is None else original,
                truncate=self.truncate,
            )
        raise UnsupportedError(
            f"rope scaling {self.kind!r} is not supported",
            hint="supported: default, linear, llama3, yarn",
        )

    def gain(self, max_context: int) -> float:
        """What yarn multiplies cos and sin by; 1 for every other kind."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        factor = self._yarn_factor(max_context)
        if self.mscale and self.mscale_all_dim:
            return yarn_size(factor, self.mscale) / yarn_size(factor, self.mscale_all_dim)
        return yarn_size(factor)

    def all_dim_gain(self, max_context: int) -> float:
        """What `mscale_all_dim` multiplies queries and keys by, unrotated numbers included (DeepSeek)."""
        if self.kind == "default" or not self.mscale_all_dim:
            return 1.0
        return yarn_size(self._yarn_factor(max_context), self.mscale_all_dim)

    def _yarn_factor(self, max_context: int) -> float:
        if self.factor is not None:
            return self.factor
        original = self.original_max_position_embeddings
        return max_context / original if original else 1.0


def yarn_size(factor: float, weight: float = 1.0) -> float:
    """Yarn's growth of scores with the factor that contexts are stretched by (arXiv:2309.00071)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
