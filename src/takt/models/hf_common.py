"""What the config readers of every Hugging Face family share: ids, activations, bounds.

Knows no family. Every number that a config states is bounded here before anything is made of that size.
"""

from types import MappingProxyType

import msgspec

from takt.errors import ModelError, UnsupportedError

from .shape import LIMITS, Activation

ACTIVATIONS: MappingProxyType[str, Activation] = MappingProxyType(
    {
        "silu": "silu",
        "swish": "silu",
        "gelu": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_fast": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "relu": "relu",
    }
)


class TokenIds(msgspec.Struct, frozen=True, kw_only=True):
    """Begin and end ids as configs write them: one, several or none."""

    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def eos_ids(self) -> tuple[int, ...]:
        """All end ids, in the order written."""
        ids = self.eos_token_id
        return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)


class GenerationConfig(TokenIds, frozen=True, kw_only=True):
    """`generation_config.json`: its end ids hold where it has any (Llama 3 lists several only there)."""


class Sizes:
    """Layers and head size of the families that split `dim` evenly, checked before use."""

    __slots__ = ("head_dim", "n_layers")

    def __init__(self, *, layers: int, heads: int, dim: int) -> None:
        self.n_layers = bounded("number of layers", layers, LIMITS["n_layers"])
        bounded("number of heads", heads, LIMITS["n_heads"])
        if dim % heads:
            raise ModelError(f"{heads} heads do not divide {dim} dimensions")
        self.head_dim = bounded("head_dim", dim // heads, LIMITS["head_dim"])


def bounded(what: str, value: int, limit: int) -> int:
    """`value` if it is 1..`limit`; checked before anything is made of that size."""
    if not 1 <= value <= limit:
        raise ModelError(f"{what} is {value}, expected 1..{limit}")
    return value


def activation(name: str) -> Activation:
    """Our name of an activation. UnsupportedError for one that Takt does not compute."""
    if name not in ACTIVATIONS:
        raise UnsupportedError(
            f"activation {name!r} is not supported", hint=f"supported: {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]
