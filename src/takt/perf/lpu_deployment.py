"""A model laid over LPUs: which system, how many chips of it, weights as stored. Knows no schedules."""

from dataclasses import dataclass

from takt.errors import UsageError, did_you_mean

__all__ = ["LpuDeployment"]

_WEIGHTS = ("int8", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LpuDeployment:
    """A model's place on LPUs: a system, of it the first `n_chips` (0: the fewest that fit), `weights` as stored.

    Every user's cache has room for `context_tokens`. `with_host`: each token also takes the host's round trip, which other
    tokens fill. Raises UsageError for a type that LPUs do not store.
    """

    system: str = "groqrack-v1"
    n_chips: int = 0
    weights: str = "int8"
    context_tokens: int = 2048
    with_host: bool = True

    def __post_init__(self) -> None:
        if self.weights not in _WEIGHTS:
            hint = did_you_mean(self.weights, _WEIGHTS) or "int8 or fp16"
            raise UsageError(f"no weights '{self.weights}' on LPUs", hint=hint)
        if self.n_chips < 0 or self.context_tokens < 1:
            raise UsageError("chips are none or more, positions of a context at least 1")
