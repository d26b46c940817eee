"""Configs that describe each layer by itself: Nemotron-H's patterns of blocks, and searched architectures' lists.

Knows nothing of what stands above the layers (`config`).
"""

from collections.abc import Sequence
from dataclasses import replace

from takt.errors import ModelError

from ..parts import MAX_WIDTH
from ..shape import LIMITS
from .blocks import blocks_of
from .fields import Fields
from .heads import Heads
from .outline import Attention, FeedForward
from .states import mamba2

__all__ = ["layers_of_blocks", "layers_of_pattern"]

Layer = tuple[Attention, FeedForward]

_LETTERS = {
    "mamba": "M",
    "linear_attention": "M",
    "attention": "*",
    "full_attention": "*",
    "mlp": "-",
    "moe": "E",
}
_NO_MIXER = Attention(kind="none")
_NO_BLOCK = FeedForward(hidden_dim=0, n_matrices=2)


def layers_of_pattern(config: Fields, heads: Heads) -> list[Layer]:
    """Nemotron-H: a letter a block, M state space, * attention, - dense, E experts.

    A mixer and the feed-forward block right after it make one layer, as in other models.
    """
    words = config.strings("layers_block_type")
    if words is not None:
        letters = "".join(_LETTERS.get(word, "?") for word in words)
    else:
        letters = config.text("hybrid_override_pattern")
    if not 1 <= len(letters) <= LIMITS["n_layers"]:
        raise ModelError(
            f"the config lists {len(letters)} blocks, expected 1..{LIMITS['n_layers']}"
        )
    mixers = _pattern_mixers(config, heads, letters)
    blocks = _pattern_blocks(config, heads.dim, letters)
    layers: list[Layer] = []
    for before, letter in zip(" " + letters, letters, strict=False):
        if letter in mixers:
            layers.append((mixers[letter], _NO_BLOCK))
        elif letter in blocks:
            if before in mixers:
                layers[-1] = (layers[-1][0], blocks[letter])
            else:
                layers.append((_NO_MIXER, blocks[letter]))
        else:
            raise ModelError(f"a block of kind {letter!r} is not known")
    return layers


def _pattern_mixers(config: Fields, heads: Heads, letters: str) -> dict[str, Attention]:
    mixers = {"M": mamba2(config, heads.dim)} if "M" in letters else {}
    if "*" in letters:
        n, kv, size, dim = heads.n_heads, heads.n_kv_heads, heads.head_dim, heads.dim
        mixers["*"] = Attention(
            kind="full",
            matrices=((n * size, dim), (kv * size, dim), (kv * size, dim), (dim, n * size)),
            n_heads=n,
            n_kv_heads=kv,
            head_dim=size,
            value_dim=size,
        )
    return mixers


def _pattern_blocks(config: Fields, dim: int, letters: str) -> dict[str, FeedForward]:
    blocks = {}
    if "E" in letters:
        blocks["E"] = blocks_of(config, dim, 1)[0]
    if "-" in letters:
        width = config.integer("intermediate_size", high=MAX_WIDTH)
        blocks["-"] = FeedForward(hidden_dim=width, n_matrices=2)
    return blocks


def layers_of_blocks(parts: Sequence[Fields], heads: Heads) -> list[Layer]:
    """Architectures found by search (Nemotron Super): each layer says what it keeps of attention and block."""
    if len(parts) > LIMITS["n_layers"]:
        raise ModelError(f"{len(parts)} layers, expected 1..{LIMITS['n_layers']}")
    layers = []
    for part in parts:
        attention, ffn = part.part("attention"), part.part("ffn")
        if attention is None or ffn is None:
            raise ModelError("block_configs need attention and ffn in each layer")
        layers.append((_searched_mixer(attention, heads), _searched_block(ffn, heads.dim)))
    return layers


def _searched_mixer(config: Fields, heads: Heads) -> Attention:
    dim = heads.dim
    if config.flag("replace_with_linear"):
        return Attention(kind="none", matrices=((dim, dim),))
    if config.flag("no_op"):
        return _NO_MIXER
    group = config.integer("n_heads_in_group", high=LIMITS["n_heads"])
    if not group or heads.n_heads % group:
        raise ModelError(f"n_heads_in_group is {group}, expected a divisor of {heads.n_heads}")
    n, kv, size = heads.n_heads, heads.n_heads // group, heads.head_dim
    mixer = Attention(
        kind="full",
        matrices=((n * size, dim), (kv * size, dim), (kv * size, dim), (dim, n * size)),
        n_heads=n,
        n_kv_heads=kv,
        head_dim=size,
        value_dim=size,
    )
    window = config.integer("window_length", default=0, high=LIMITS["max_context"])
    return replace(mixer, window=window) if window else mixer


def _searched_block(config: Fields, dim: int) -> FeedForward:
    if config.flag("no_op"):
        return FeedForward(hidden_dim=0)
    if config.flag("replace_with_linear"):
        return FeedForward(hidden_dim=dim, n_matrices=1)
    width = int(2 * config.number("ffn_mult", default=4.0) * dim / 3)
    width = -(-width // 256) * 256  # rounded up as the model's own code does
    if width > MAX_WIDTH:
        raise ModelError(f"a feed-forward block of width {width} is too wide")
    return FeedForward(hidden_dim=width)
