"""GPUs and LPUs together: what crosses the link between them, and what a token or the first token takes then.

Two ways to share a model. *Prompt here, tokens there*: GPUs read the prompt, its cache crosses once, LPUs generate.
*Attention here, feed-forward there*: each token's activations cross twice a layer, in micro-batches that take turns.
Knows links and sizes; the times of either side come from the caller.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike

from takt.errors import DataError, UsageError, did_you_mean
from takt.models.outlines import Outline

from .estimate import Floats

__all__ = ["Link", "afd_step", "kv_transfer_s", "link_of", "split_ttft_s"]

_FACTS = ("bytes_per_s", "share", "latency_s")
_KINDS = ("published", "measured", "derived", "assumed")
_ACTIVATION_BYTES = 2  # crossings carry 16-bit numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link between two systems: payload bytes a second one way, and seconds before the first of them arrives."""

    id: str
    name: str
    bytes_per_s: float
    latency_s: float
    basis: frozenset[str]

    def send_s(self, n_bytes: ArrayLike, n_links: int = 1) -> Floats:
        """From the first byte's start to the last byte's arrival, over `n_links` side by side."""
        if n_links < 1:
            raise UsageError(f"{n_links} links, expected at least 1")
        sent: Floats = np.asarray(n_bytes, np.float64) / (self.bytes_per_s * n_links)
        return self.latency_s + sent


@cache
def link_of(name: str) -> Link:
    """The link of that name in `data/lpu_links.toml`; UsageError with a near miss."""
    text = files("takt.perf").joinpath("data/lpu_links.toml").read_text(encoding="utf-8")
    table = {key: row for key, row in tomllib.loads(text).items() if key != "sources"}
    if name not in table:
        hint = did_you_mean(name, table) or f"known links are {', '.join(table)}"
        raise UsageError(f"no link '{name}'", hint=hint)
    row = table[name]
    for fact in _FACTS:
        if row.get(fact, {}).get("kind") not in _KINDS:
            raise DataError(f"{name}.{fact} is missing or of no known kind", file="lpu_links.toml")
    value = {fact: float(row[fact]["value"]) for fact in _FACTS}
    kinds = {str(row[fact]["kind"]) for fact in _FACTS}
    return Link(
        id=name,
        name=str(row["name"]),
        bytes_per_s=value["bytes_per_s"] * value["share"],
        latency_s=value["latency_s"],
        basis=frozenset(f"{kind}: link {name}" for kind in kinds & {"published", "assumed"}),
    )


def kv_transfer_s(
    model: Outline, tokens: int, link: Link, *, n_links: int = 1, element_bytes: float = 2.0
) -> float:
    """Seconds for the cache of one user after a prompt of `tokens`; LPUs of Takt keep 16-bit numbers."""
    if tokens < 0:
        raise UsageError(f"{tokens} tokens, expected none or more")
    return float(link.send_s(model.kv_bytes(tokens, element_bytes), n_links))


def split_ttft_s(
    prompt_s: ArrayLike, transfer_s: ArrayLike, first_step_s: ArrayLike, *, layers_sent: int = 1
) -> Floats:
    """Time to the first token: prompt on one side, transfer, one step on the other.

    The cache is sent in `layers_sent` equal parts, each as soon as its layers are done: all parts but the last cross
    while later layers are computed, unless the link is the slower of the two. 1 sends it when all is done.
    """
    if layers_sent < 1:
        raise UsageError(f"{layers_sent} parts, expected at least 1")
    prompt = np.asarray(prompt_s, np.float64)
    sent = np.asarray(transfer_s, np.float64)
    # A line of two stages, parts alike: the slower one works through, the other adds one part's time.
    both = np.maximum(prompt, sent) + np.minimum(prompt, sent) / layers_sent
    out: Floats = both + np.asarray(first_step_s, np.float64)
    return out


def afd_step(
    attention_s_per_layer: ArrayLike,
    ffn_s_per_layer: ArrayLike,
    *,
    dim: int,
    n_layers: int,
    users: ArrayLike,
    link: Link,
    microbatches: int = 2,
    n_links: int = 1,
) -> Floats:
    """Seconds of a decode step of all `users` with attention on GPUs and feed-forward on LPUs.

    Both times are of one layer and *one micro-batch* of users / `microbatches`. In each layer a micro-batch is attended
    to, crosses, is fed forward, and crosses back, `dim` numbers of 16 bits a user each way. Micro-batches take turns on the GPUs and
    on each direction of the link; each layer's feed-forward has chips of its own, which all micro-batches pass. The
    step is the longest of: one micro-batch's way alone, the GPUs' work, one direction's traffic, one layer's feed-forward.
    """
    if microbatches < 1 or n_layers < 1 or dim < 1:
        raise UsageError("micro-batches, layers and dimensions are at least 1")
    attend = np.asarray(attention_s_per_layer, np.float64)
    feed = np.asarray(ffn_s_per_layer, np.float64)
    each = np.asarray(users, np.float64) / microbatches
    busy = each * dim * _ACTIVATION_BYTES / (link.bytes_per_s * n_links)
    alone = n_layers * (attend + feed + 2 * (busy + link.latency_s))
    shared = microbatches * n_layers * np.maximum(attend, busy)
    out: Floats = np.maximum(np.maximum(alone, shared), microbatches * feed)
    return out
