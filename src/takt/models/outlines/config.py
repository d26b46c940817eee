"""From a `config.json` of any text model to an `Outline`, whatever family it is of.

Most families say the same few sizes under different names, which `mixers` and `blocks` know; here are the few that
describe their layers in a way of their own, and what stands above the layers. A family that is not known
is read like the others if the usual fields are there, and its `basis` says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from takt.errors import ModelError

from ..shape import LIMITS
from .blocks import blocks_of
from .families import is_encoder, is_known, is_tied
from .fields import Fields
from .heads import Heads, heads_of
from .mixers import mixers_of
from .outline import Attention, FeedForward, LayerGroup, Outline
from .patterns import layers_of_blocks, layers_of_pattern
from .stored import stored_types

__all__ = ["outline_from_config", "read_config"]

Layer = tuple[Attention, FeedForward]

_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "language_model")
_BOUNDS = {"dim": (1, LIMITS["dim"]), "vocab_size": (1, LIMITS["vocab_size"])}


def outline_from_config(
    raw: Mapping[str, Any], name: str, quantisation: Mapping[str, Any] | None = None
) -> Outline:
    """The outline that the object in a `config.json` states; `quantisation` that of `hf_quant_config.json`.

    Raises ModelError where fields are missing, of a wrong type or out of range.
    """
    return read_config(Fields(raw), name, Fields(quantisation) if quantisation else None)


def read_config(top: Fields, name: str, quantisation: Fields | None = None) -> Outline:
    """The same from `Fields`, which then know what was read."""
    text = _text_part(top)
    dim = _size(text, "dim", "hidden_size", "n_embd", "d_model", "model_dim", "dim")
    vocab_size = _size(text, "vocab_size", "vocab_size", "padded_vocab_size")
    if text.text("model_type") in ("t5", "mt5", "umt5"):
        groups, other = _t5(text, dim)
        heads = heads_of(text, dim)
    else:
        heads = heads_of(text, dim)
        groups = _grouped(_layers(text, heads))
        other = _other_tables(text, dim, sum(group.count for group in groups))
    _check(groups)
    n_draft = min(_draft_layers(text), LIMITS["n_layers"])
    if n_draft:
        groups = _draft_last(text, groups)
    routes = any(group.ffn.n_experts for group in groups)
    stored, stored_experts = stored_types(top, text, quantisation, routes=routes)
    known = is_known(text.text("model_type"))
    return Outline(
        name=name,
        dim=dim,
        vocab_size=vocab_size,
        groups=groups,
        tied_embeddings=is_tied(text, top),
        max_context=heads.context,
        stored=stored,
        stored_experts=stored_experts,
        n_draft_layers=n_draft,
        basis="published" if known else "assumed: read like a llama",
        encoder=is_encoder(text),
        other_parameters=other,
    )


def _text_part(top: Fields) -> Fields:
    """Where the language model is described, of models that also see or hear."""
    text = top
    for _ in range(3):
        inner = text.part(*_TEXT_PARTS)
        if inner is None or text.has("hidden_size", "n_embd", "d_model"):
            break
        text = inner
    return text


def _size(text: Fields, what: str, *names: str) -> int:
    low, high = _BOUNDS[what]
    value = text.integer(*names, high=high)
    if value < low:
        raise ModelError(f"{names[0]} is {value}, expected {low}..{high}")
    return value


def _layers(text: Fields, heads: Heads) -> list[Layer]:
    """Every layer, in order."""
    parts = text.parts("block_configs") if text.has("block_configs") else ()
    if parts:
        return layers_of_blocks(parts, heads)
    if text.text("model_type") == "nemotron_h" or text.has("hybrid_override_pattern"):
        return layers_of_pattern(text, heads)
    n_layers = text.integer(
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", high=LIMITS["n_layers"]
    )
    if not n_layers:
        raise ModelError("num_hidden_layers is 0, expected at least 1")
    mixers = mixers_of(text, heads, n_layers)
    blocks = blocks_of(text, heads.dim, n_layers)
    extra = text.integer("hidden_size_per_layer_input", default=0)
    if extra:  # embeddings by layer (Gemma 3n, 4): each layer mixes its own in
        ways = ((extra, heads.dim), (extra, heads.dim), (heads.dim, extra))
        mixers = [replace(mixer, matrices=(*mixer.matrices, *ways)) for mixer in mixers]
    return list(zip(mixers, blocks, strict=True))


def _grouped(layers: Iterable[Layer]) -> tuple[LayerGroup, ...]:
    """Layers alike together, in the order in which the first of each comes."""
    counts: dict[Layer, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(LayerGroup(count=n, attention=a, ffn=f) for (a, f), n in counts.items())


def _check(groups: Iterable[LayerGroup]) -> None:
    """ModelError for layers that attend with nothing, or to nothing: who costs them would divide by zero."""
    for mixer in (group.attention for group in groups):
        attends = mixer.kind in ("full", "latent")
        sizes = (mixer.n_heads, mixer.n_kv_heads, mixer.head_dim, mixer.kv_elements)
        if attends and (min(sizes) < 1 or mixer.n_kv_heads > mixer.n_heads):
            raise ModelError(
                f"attention of {mixer.n_heads} heads, {mixer.n_kv_heads} of them with keys, of "
                f"{mixer.head_dim} numbers makes no sense"
            )
        if 0 in (mixer.window, mixer.topk):
            raise ModelError("a window or a choice of 0 positions makes no sense")


def _draft_layers(text: Fields) -> int:
    """Layers that predict further tokens."""
    modules = text.integer("num_mtp_modules", default=0, high=LIMITS["n_layers"])
    each = text.integer("mtp_transformer_layers", default=1, high=LIMITS["n_layers"])
    stated = text.integer(
        "num_nextn_predict_layers", "mtp_num_hidden_layers", "mtp_num_layers", "num_mtp_layers",
        "n_mtp_layers", "n_predict", default=-1, high=LIMITS["n_layers"],
    )  # fmt: skip
    return modules * each if stated < 0 else stated


def _draft_last(text: Fields, groups: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    """The groups with the one last that draft layers are like: it attends, and routes if any does."""
    local = text.has("hybrid_layer_pattern", "compress_ratios")  # their draft layers have a window

    def rank(group: LayerGroup) -> tuple[bool, bool, bool]:
        attends = group.attention.kind in ("full", "latent")
        windowed = group.attention.window is not None
        return attends, group.ffn.n_experts > 0, windowed == local

    last = max(groups, key=rank)
    return (*(group for group in groups if group is not last), last)


def _other_tables(text: Fields, dim: int, n_layers: int) -> int:
    """Tables beside the embedding: learned positions, token types, embeddings by layer."""
    extra = text.integer("hidden_size_per_layer_input", default=0)
    rows = text.integer("vocab_size_per_layer_input", default=0, high=LIMITS["vocab_size"])
    tables = extra * rows * n_layers
    if text.text("model_type") in ("gpt2", "gpt_neo", "opt", "gpt_bigcode") or is_encoder(text):
        tables += dim * text.integer("max_position_embeddings", "n_positions", "n_ctx", default=0)
        tables += dim * text.integer("type_vocab_size", default=0)
    return tables


def _t5(text: Fields, dim: int) -> tuple[tuple[LayerGroup, ...], int]:
    """The decoder's layers, and the weights of the encoder, which no generated token meets.

    A layer's matrices also hold the two of cross-attention that a new token meets; keys and values of the
    prompt, which the encoder makes once, are counted with the encoder.
    """
    heads = heads_of(text, dim)
    n_encoder = text.integer("num_layers", high=LIMITS["n_layers"])
    n_decoder = text.integer("num_decoder_layers", default=n_encoder, high=LIMITS["n_layers"])
    if not n_decoder:
        raise ModelError("num_decoder_layers is 0, expected at least 1")
    width = heads.n_heads * heads.head_dim
    own = ((width, dim),) * 3 + ((dim, width),)
    mixer = Attention(
        kind="full",
        matrices=(*own, (width, dim), (dim, width)),
        n_heads=heads.n_heads,
        n_kv_heads=heads.n_heads,
        head_dim=heads.head_dim,
        value_dim=heads.head_dim,
    )
    block = blocks_of(text, dim, n_decoder)[0]
    ffn = block.n_matrices * block.hidden_dim * dim
    encoder = n_encoder * (4 * width * dim + ffn) + n_decoder * 2 * width * dim
    return (LayerGroup(count=n_decoder, attention=mixer, ffn=block),), encoder
