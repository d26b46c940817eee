"""Outlines of language models: what costs time and memory of any model, from its name or its `config.json`.

`outline_of` takes what a user types, `find_outline` what measurement files write; `why_not` says why the latter has
no answer. `OUTLINES` are all that are known by name.
"""

from .catalogue import OUTLINES
from .config import outline_from_config
from .from_shape import outline_from_shape
from .load import outline_of
from .names import find_outline, why_not
from .outline import Attention, FeedForward, LayerGroup, Outline

__all__ = [
    "OUTLINES",
    "Attention",
    "FeedForward",
    "LayerGroup",
    "Outline",
    "find_outline",
    "outline_from_config",
    "outline_from_shape",
    "outline_of",
    "why_not",
]
