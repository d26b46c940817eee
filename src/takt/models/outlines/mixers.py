"""Which token mixer each layer of a config has, and how large it is: attention in its kinds; states are in `states`.

A layer's kind is a short word ("full", "sliding", "compressed:4", "linear"), so that layers of one kind are
sized once. Knows no feed-forward blocks (`blocks`).
"""

from dataclasses import replace

from takt.errors import ModelError

from ..shape import LIMITS
from .fields import Fields
from .heads import Heads
from .latent import compressed, latent
from .outline import Attention
from .states import delta_rule, lightning, mamba, mamba2, rwkv, short_convolution

__all__ = ["mixers_of"]

_WORDS = {
    "full_attention": "full",
    "attention": "full",
    "hybrid": "full",
    "deepseek_sparse_attention": "full",
    "indexed_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "sliding",
    "local_attention": "sliding",
    "linear_attention": "linear",
    "mamba": "mamba",
    "mamba2": "mamba",
    "conv": "conv",
}
_ALTERNATING = ("gemma2", "gpt_oss")  # models whose older configs do not list their layers


def mixers_of(config: Fields, heads: Heads, n_layers: int) -> list[Attention]:
    """One mixer a layer."""
    kinds = _kinds(config, heads, n_layers)
    own = _heads_by_layer(config, heads, n_layers)
    pairs = [(kind, own.get(layer, heads)) for layer, kind in enumerate(kinds)]
    sized = {pair: _mixer(config, pair[1], pair[0]) for pair in dict.fromkeys(pairs)}
    mixers = [sized[pair] for pair in pairs]
    per_layer = config.integers("num_key_value_heads_per_layer")
    if per_layer is not None:
        mixers = [_with_kv_heads(m, heads, n) for m, n in zip(mixers, per_layer, strict=False)]
    shared = min(config.integer("num_kv_shared_layers", default=0), n_layers)
    first = n_layers - shared
    return [_sharing(m) if i >= first else m for i, m in enumerate(_padded(mixers, n_layers))]


def _heads_by_layer(config: Fields, heads: Heads, n_layers: int) -> dict[int, Heads]:
    """Sizes of layers that a config states apart, as transformers does since version 5."""
    table = config.part("per_layer_config")
    own = {}
    for word, part in table.items() if table else ():
        if not word.isdecimal() or len(word) > 6 or int(word) >= n_layers:
            raise ModelError(f"per_layer_config names a layer {word[:20]!r} of {n_layers}")
        own[int(word)] = replace(
            heads,
            n_heads=part.integer("num_attention_heads", default=heads.n_heads, high=4096),
            n_kv_heads=part.integer("num_key_value_heads", default=heads.n_kv_heads, high=4096),
            head_dim=part.integer("head_dim", default=heads.head_dim, high=LIMITS["head_dim"]),
        )
    return own


def _padded(mixers: list[Attention], n_layers: int) -> list[Attention]:
    if len(mixers) < n_layers:
        raise ModelError(f"the config lists {len(mixers)} layers, expected {n_layers}")
    return mixers


def _with_kv_heads(mixer: Attention, heads: Heads, n_kv_heads: int) -> Attention:
    if not 1 <= n_kv_heads <= LIMITS["n_kv_heads"]:
        raise ModelError(f"num_key_value_heads_per_layer has {n_kv_heads}")
    return _plain(replace(heads, n_kv_heads=n_kv_heads), mixer.window)


def _sharing(mixer: Attention) -> Attention:
    """The mixer without what makes keys and values: it reads those of an earlier layer."""
    made = (mixer.n_kv_heads * mixer.head_dim, mixer.n_kv_heads * mixer.value_dim)
    kept = tuple(m for i, m in enumerate(mixer.matrices) if not (i in (1, 2) and m[0] in made))
    return replace(mixer, matrices=kept, shares_cache=True)


def _kinds(config: Fields, heads: Heads, n_layers: int) -> list[str]:
    """A word for each layer, from whichever of the many ways the config says it."""
    found = _listed(config, n_layers) or _patterned(config, heads, n_layers)
    if len(found) < n_layers:
        raise ModelError(f"the config lists {len(found)} layers, expected {n_layers}")
    return _sparse(config, found[:n_layers])


def _listed(config: Fields, n_layers: int) -> list[str] | None:
    """The kinds of configs that list their layers one by one."""
    ratios = config.integers("compress_ratios")
    if ratios is not None:
        return [f"compressed:{ratio}" if ratio else "local" for ratio in ratios]
    words = config.strings("layer_types", "layers_block_type")
    rates = config.part("compress_rates")
    if rates is not None and words is not None:  # DeepSeek V4 as transformers writes it
        pooled = {word: rates.integer(word, default=0, high=1 << 20) for word in set(words)}
        return [f"compressed:{pooled[word]}" if pooled[word] else "local" for word in words]
    chosen = config.integers("attn_layer_indices")
    if chosen is not None:  # Bamba
        return ["full" if layer in chosen else "mamba" for layer in range(n_layers)]
    if words is not None:
        unknown = sorted(set(words) - set(_WORDS))
        if unknown:
            raise ModelError(f"layers of kind {unknown[0]!r} are not known")
        return [_WORDS[word] for word in words]
    pattern = config.integers("hybrid_layer_pattern")
    if pattern is not None:
        return ["sliding" if one else "full" for one in pattern]
    softmax = config.integers("attn_type_list")
    if softmax is not None:
        return ["full" if one else "lightning" for one in softmax]
    linear = config.part("linear_attn_config")
    chosen = linear.integers("kda_layers") if linear else None
    if chosen is not None:  # counted from 1
        return ["linear" if layer + 1 in chosen else "full" for layer in range(n_layers)]
    return None


def _patterned(config: Fields, heads: Heads, n_layers: int) -> list[str]:
    """The kinds of configs that state a rule."""
    model = config.text("model_type")
    if model in ("mamba", "falcon_mamba", "mamba2"):
        return ["mamba"] * n_layers
    if model == "rwkv":
        return ["rwkv"] * n_layers
    every = config.integer("full_attention_interval", default=0)
    if every:
        return ["linear" if (i + 1) % every else "full" for i in range(n_layers)]
    every = config.integer("attn_layer_period", default=0)
    if every:
        offset = config.integer("attn_layer_offset", default=0)
        return ["full" if i % every == offset else "mamba" for i in range(n_layers)]
    windowed = _window(config) < heads.context and config.flag("use_sliding_window", default=True)
    if not windowed:
        return ["full"] * n_layers
    if config.has("attention_chunk_size"):
        every = config.integer("no_rope_layer_interval", default=4)
    elif model in _ALTERNATING:
        return ["full" if i % 2 else "sliding" for i in range(n_layers)]
    else:
        every = _pattern_length(config)
    return ["sliding" if not every or (i + 1) % every else "full" for i in range(n_layers)]


def _pattern_length(config: Fields) -> int:
    """Every how many layers one sees everything; 0 for none."""
    text = config.text("sliding_window_pattern")
    if text:  # such as "LLLG"
        return len(text)
    default = 6 if config.text("model_type").startswith("gemma3") else 0
    return config.integer("sliding_window_pattern", "_sliding_window_pattern", default=default)


def _window(config: Fields) -> int:
    """Latest positions that a layer with a window sees; a very large number without one."""
    none = 1 << 26
    size = config.integer(
        "sliding_window", "attention_chunk_size", "sliding_window_size", default=none, high=none
    )
    return size or none


def _sparse(config: Fields, kinds: list[str]) -> list[str]:
    """The full layers that choose among positions by an index, named so."""
    if config.has("compress_ratios", "compress_rates"):
        return kinds
    blocks = config.part("sparse_attention_config")
    if blocks is not None and blocks.flag("use_sparse_attention", default=True):
        chosen = blocks.integers("sparse_attention_freq") or (1,) * len(kinds)
        return ["blocks" if on else kind for kind, on in zip(kinds, chosen, strict=False)]
    if not config.integer("index_topk", default=0):
        return kinds
    types = config.strings("indexer_types") or ("full",) * len(kinds)
    return [
        "sparse" if t == "full" else "sparse-shared" for t, _ in zip(types, kinds, strict=False)
    ]


def _mixer(config: Fields, heads: Heads, kind: str) -> Attention:
    """The mixer of one kind."""
    if kind == "linear" and config.text("model_type").startswith("minimax"):
        kind = "lightning"
    if kind == "mamba" or (kind == "linear" and _is_mamba2(config)):
        return mamba2(config, heads.dim) if _is_mamba2(config) else mamba(config, heads.dim)
    if kind == "linear":
        return delta_rule(config, heads.dim)
    if kind == "conv":
        return short_convolution(config, heads.dim)
    if kind == "rwkv":
        return rwkv(config, heads.dim)
    if kind == "lightning":
        return lightning(heads.dim, heads.n_heads, heads.head_dim)
    if kind == "local" or kind.startswith("compressed:"):
        return compressed(config, heads, int(kind.partition(":")[2] or 0))
    if config.integer("kv_lora_rank", default=0):
        return latent(config, heads, kind)
    if kind == "blocks":
        return _block_sparse(config, heads)
    return _classic(config, heads, kind)


def _is_mamba2(config: Fields) -> bool:
    return config.has("mamba_num_heads", "mamba_n_heads") or config.text("model_type") == "mamba2"


def _classic(config: Fields, heads: Heads, kind: str) -> Attention:
    """Keys and values a head, some of whose sizes may differ between layers with and without a window."""
    sliding = kind == "sliding"
    window = _window(config) if sliding else None
    other = config.part("attention_other_setting")
    if sliding and other is not None:  # Step
        heads = replace(
            heads,
            n_heads=other.integer("num_attention_heads", default=heads.n_heads, high=4096),
            n_kv_heads=other.integer("num_attention_groups", default=heads.n_kv_heads, high=4096),
        )
    prefix = "swa_" if sliding else "global_"
    heads = replace(
        heads,
        n_heads=config.integer(f"{prefix}num_attention_heads", default=heads.n_heads, high=4096),
        n_kv_heads=config.integer(
            f"{prefix}num_key_value_heads", f"num_{prefix}key_value_heads",
            default=heads.n_kv_heads, high=4096,
        ),
        head_dim=config.integer(
            f"{prefix}head_dim", default=heads.head_dim, high=LIMITS["head_dim"]
        ),
    )  # fmt: skip
    value_dim = config.integer(
        *(("swa_v_head_dim",) if sliding else ()), "v_head_dim",
        default=heads.head_dim, high=LIMITS["head_dim"],
    )  # fmt: skip
    gate = config.flag("attn_output_gate", "attention_output_gate", default=_gates_output(config))
    mixer = _plain(heads, window, value_dim=value_dim, gate=gate)
    if config.flag("attention_k_eq_v") and not sliding:  # values are keys, normed another way
        return replace(mixer, matrices=(*mixer.matrices[:2], *mixer.matrices[3:]))
    return mixer


def _gates_output(config: Fields) -> bool:
    """Whether the family gates what comes out of attention where its config does not say."""
    return config.text("model_type").startswith(("qwen3_next", "qwen3_5"))


def _plain(
    heads: Heads, window: int | None, *, value_dim: int = 0, gate: bool = False
) -> Attention:
    h = heads
    value_dim = value_dim or h.head_dim
    return Attention(
        kind="full",
        matrices=(
            (h.n_heads * h.head_dim * (2 if gate else 1), h.dim),
            (h.n_kv_heads * h.head_dim, h.dim),
            (h.n_kv_heads * value_dim, h.dim),
            (h.dim, h.n_heads * value_dim),
        ),
        n_heads=h.n_heads,
        n_kv_heads=h.n_kv_heads,
        head_dim=h.head_dim,
        value_dim=value_dim,
        window=window,
    )


def _block_sparse(config: Fields, heads: Heads) -> Attention:
    """Attention to the best blocks of positions, scored by few heads of their own (MiniMax M3)."""
    blocks = config.part("sparse_attention_config")
    plain = _classic(config, heads, "full")
    if blocks is None:
        return plain
    index_heads = blocks.integer("sparse_num_index_heads", high=4096)
    index_dim = blocks.integer("sparse_index_dim", high=LIMITS["head_dim"])
    size = blocks.integer("sparse_block_size", high=1 << 20)
    return replace(
        plain,
        matrices=(*plain.matrices, (index_heads * index_dim, heads.dim), (index_dim, heads.dim)),
        topk=blocks.integer("sparse_topk_blocks", high=1 << 20) * size,
        index_heads=index_heads,
        index_dim=index_dim,
    )
