"""The shapes that are measured: published ones, most of them from the catalogue, and tiny ones."""

from __future__ import annotations

from dataclasses import replace

from takt.models import SHAPES, ModelShape

_MINILM = replace(
    SHAPES["bert-base"],
    name="minilm-l6",
    n_layers=6,
    dim=384,
    n_heads=12,
    n_kv_heads=12,
    head_dim=32,
    hidden_dim=1536,
    windows=(None,) * 6,
    attention_scale=32**-0.5,
    pooling="mean",
)
_TINY = replace(
    SHAPES["stories260k"],
    name="tiny",
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    head_dim=32,
    hidden_dim=96,
    vocab_size=96,
    max_context=64,
    windows=(None,),
    attention_scale=32**-0.5,
)
_TINY_BERT = replace(
    SHAPES["bert-base"],
    name="tiny-bert",
    n_layers=1,
    dim=64,
    n_heads=2,
    n_kv_heads=2,
    head_dim=32,
    hidden_dim=96,
    vocab_size=96,
    max_context=32,
    windows=(None,),
    attention_scale=32**-0.5,
    pooling="mean",
)


def by_name(name: str) -> ModelShape:
    """A shape of this file or of the catalogue. KeyError for any other name."""
    own = {shape.name: shape for shape in (_MINILM, _TINY, _TINY_BERT)}
    return own[name] if name in own else SHAPES[name]
