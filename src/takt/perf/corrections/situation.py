"""What is known of a deployment when its figure is corrected: names and sizes, and the effects made of them.

A correction is a sum of named effects (``engine=vllm``, ``engine=vllm chip=h200-sxm``, …), each a constant and
slopes over how many users, positions, prompt tokens and chips there are. Every effect comes twice: for the time of steps,
whichever figure shows it, and for one figure alone (``… figure=energy``). Here are the names; `effects` holds
their values, and the accuracy room fits them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..estimate import Floats

__all__ = ["FAMILIES", "SLOPES", "TODAY", "Situation", "era_of", "slopes"]

# Servers of one name were other programs before: vLLM's second engine is the default since March 2025, SGLang's scheduler
# overlaps with steps since December 2024, TensorRT-LLM runs PyTorch since September 2025. Rows of both times know
# little of each other.
_REBUILT = ("vllm", "sglang", "trtllm")
_RECENT = "2025-07"
TODAY = "9999"

# Each family of effects: the fields whose values name one effect. From coarse to fine.
_PLAIN: tuple[tuple[str, ...], ...] = (
    (),
    ("engine",),
    ("vendor",),
    ("architecture",),
    ("chip",),
    ("kind",),
    ("model",),
    ("weights",),
    ("mode",),
    ("campaign",),
    ("engine", "era"),
    ("engine", "era", "kind"),
    ("engine", "era", "architecture"),
    ("engine", "mode"),
    ("engine", "architecture"),
    ("engine", "chip"),
    ("engine", "kind"),
    ("engine", "model"),
    ("chip", "model"),
    ("architecture", "weights"),
    ("architecture", "kind"),
    ("model", "weights"),
    ("split", "kind"),
    ("engine", "split"),
    ("layout",),
    ("engine", "layout"),
    ("chip", "layout"),
    ("model", "layout"),
    ("kind", "layout"),
    ("chip", "mode"),
    ("model", "mode"),
    ("kind", "mode"),
    ("engine", "chip", "weights"),
    ("engine", "chip", "mode"),
    ("engine", "chip", "model"),
    ("engine", "model", "weights"),
    ("engine", "model", "mode"),
    ("engine", "kind", "weights"),
    ("engine", "version"),
    ("engine", "version", "architecture"),
    ("engine", "version", "chip"),
    ("engine", "version", "model"),
    ("campaign", "engine"),
    ("campaign", "chip"),
    ("campaign", "model"),
    ("campaign", "mode"),
    ("engine", "architecture", "model", "weights"),
    ("engine", "chip", "model", "weights", "mode"),
    ("engine", "chip", "model", "weights", "mode", "split"),
    ("campaign", "engine", "version", "chip", "model", "weights", "mode"),
    ("campaign", "engine", "version", "chip", "model", "weights", "mode", "split"),
)
FAMILIES = _PLAIN + tuple((*fields, "figure") for fields in _PLAIN)
SLOPES = ("constant", "users", "users2", "context", "prompts", "chips")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Names by which effects are looked up; "" where nothing is known.

    `kind`: dense or experts, with the kind of attention. `mode`: how users come, whether prompts are read
    elsewhere and tokens guessed ahead. `era`: early or recent (`era_of`). `campaign`: who measured, for rows of a known
    file. `split`: tp, dp, ep; `layout`: which of them are more than one.
    `figure`: `tpot`, `ttft`, `throughput`, `energy` or `step_time`.
    """

    figure: str
    engine: str
    chip: str
    vendor: str
    architecture: str
    model: str
    kind: str
    weights: str
    mode: str
    split: str
    layout: str
    n_chips: int
    era: str = ""
    campaign: str = ""
    version: str = ""

    def effects(self) -> Iterator[tuple[int, str]]:
        """(family, name) of every effect that applies: families whose fields are all known."""
        # Waiting for the first token and passes over prompts have causes of their own: they share nothing
        # with the pace of tokens.
        about = "pass " if self.mode.startswith("steps") else ""
        about = "waiting " if self.figure == "ttft" else about
        for index, fields in enumerate(FAMILIES):
            values = [getattr(self, field) for field in fields]
            if all(values):
                pairs = zip(fields, values, strict=True)
                named = " ".join(f"{field}={value}" for field, value in pairs)
                yield index, about + (named or "all")


def era_of(engine: str, date: str) -> str:
    """early, or recent: from mid-2025 on; "" for engines that were not rebuilt, and where no date is known."""
    if engine not in _REBUILT or not date:
        return ""
    return "recent" if date >= _RECENT else "early"


def slopes(users: Floats, context: Floats, prompts: Floats, n_chips: Floats) -> Floats:
    """[…, 6]: what an effect's constant and slopes are multiplied by, each about −1 to 1.

    `users` of one attention group, `context` positions, `prompts`: prompt tokens for each generated one.
    """
    users, context, prompts, n_chips = np.broadcast_arrays(users, context, prompts, n_chips)
    many = np.clip((np.log2(np.maximum(users, 0.25)) - 4.0) / 4.0, -1.5, 2.0)
    long = np.clip((np.log2(np.maximum(context, 16.0)) - 11.0) / 3.0, -2.0, 3.0)
    read = np.clip(np.log2(np.maximum(prompts, 1e-3)) / 3.0, -1.5, 2.0)
    wide = (np.log2(np.maximum(n_chips, 1.0)) - 2.0) / 2.0
    return np.stack([np.ones(users.shape), many, many * many - 0.5, long, read, wide], axis=-1)
