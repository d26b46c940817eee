"""Outlines guessed from the sizes in a name: '14B', '30B-A3B', '8x7B', 'E4B'.

The nearest published model of that size is taken, with its layers made fewer or more, and its experts, until the
sizes agree. What comes out says so in its `basis`.
"""

import math
import re
from dataclasses import dataclass, replace

from ..parts import MAX_EXPERTS
from ..shape import LIMITS
from .catalogue import catalogue_outline
from .outline import LayerGroup, Outline

__all__ = ["NameSizes", "guessed", "sizes_in"]

_DENSE = (
    "smollm2-135m", "smollm2-360m", "llama-3.2-1b", "llama-3.2-3b", "qwen3-8b", "qwen3-14b", "qwen3-32b",
    "llama-3.1-70b", "mistral-large", "llama-3.1-405b",
)  # fmt: skip
_ROUTED = (
    "deepseek-v2-lite", "qwen3-30b-a3b", "mixtral-8x7b", "hunyuan-a13b", "glm-4.5-air", "mixtral-8x22b",
    "minimax-m2.5", "qwen3-235b-a22b", "glm-4.6", "qwen3-coder-480b-a35b", "deepseek-v3", "kimi-k2",
)  # fmt: skip
_BASIS = "assumed: sizes guessed from the name"
_SIZE = r"(\d{1,4}(?:\.\d{1,3})?)"
_UNITS = {"t": 1e12, "b": 1e9, "m": 1e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class NameSizes:
    """Parameters that a name states, 0 where it does not; `n_copies` experts of `total` each where it says '8x7B'.

    `mark` holds letters that change what a size means: `e` for '16E' experts, after the active size (Llama 4).
    """

    total: float = 0.0
    active: float = 0.0
    n_copies: int = 0
    effective: bool = False
    mark: str = ""


def sizes_in(name: str) -> NameSizes | None:
    """The sizes in a lower-case name, None where there is none."""
    mix = re.search(rf"(\d{{1,3}})x{_SIZE}b", name)
    if mix:
        return NameSizes(total=float(mix.group(2)) * 1e9, n_copies=int(mix.group(1)))
    active = re.search(rf"(?<![a-z0-9])a{_SIZE}b(?![a-z0-9])", name)
    effective = re.search(rf"(?<![a-z0-9])e{_SIZE}b(?![a-z0-9])", name)
    if effective:
        return NameSizes(total=float(effective.group(1)) * 1e9, effective=True)
    total = re.search(rf"(?<![a-z0-9.]){_SIZE}([tbm])(?![a-z0-9])", name) or re.search(
        rf"(?<=[a-z]){_SIZE}([tbm])(?![a-z0-9])", re.sub(rf"(?<![a-z0-9])a{_SIZE}b", "", name)
    )
    if total is None and active is None:
        return None
    mark = "e" if re.search(r"\d+e(?![a-z0-9])", name) else ""
    return NameSizes(
        total=float(total.group(1)) * _UNITS[total.group(2)] if total else 0.0,
        active=float(active.group(1)) * 1e9 if active else 0.0,
        mark=mark,
    )


def guessed(name: str, sizes: NameSizes) -> Outline | None:
    """An outline of about these sizes, None where they are no sizes of a language model."""
    if sizes.n_copies:
        return _mixture(name, sizes)
    if not 1e6 <= sizes.total <= 2e13 or (sizes.active and sizes.active > sizes.total):
        return None
    if sizes.active and sizes.active < 0.6 * sizes.total:
        return _routed(name, sizes.total, sizes.active)
    return _dense(name, sizes.total)


def _dense(name: str, total: float) -> Outline:
    models = map(catalogue_outline, _DENSE)
    near = min(models, key=lambda model: abs(math.log(model.n_parameters / total)))
    tables = near.n_parameters - _layer_parameters(near)
    want = max(total - tables, 0.05 * total)
    return _named(name, _with_layers(near, want / _layer_parameters(near)))


def _routed(name: str, total: float, active: float) -> Outline:
    models = map(catalogue_outline, _ROUTED)
    near = min(
        models,
        key=lambda m: math.hypot(
            math.log(m.n_parameters / total), math.log(m.n_active_parameters / active)
        ),
    )
    head = near.vocab_size * near.dim
    share = max(active - head, 0.05 * active) / (near.n_active_parameters - head)
    return _named(name, _with_experts(_with_layers(near, share), total))


def _mixture(name: str, sizes: NameSizes) -> Outline | None:
    """'8x7B': as Mixtral, whose name counts what is not in the experts once for each."""
    near = catalogue_outline("mixtral-8x7b" if sizes.total < 14e9 else "mixtral-8x22b")
    counted = 7e9 if sizes.total < 14e9 else 22e9
    if not 1e6 <= sizes.total <= 1e12 or not 2 <= sizes.n_copies <= MAX_EXPERTS:
        return None
    scaled = _with_layers(near, sizes.total / counted)
    groups = tuple(
        replace(group, ffn=replace(group.ffn, n_experts=sizes.n_copies)) for group in scaled.groups
    )
    return _named(name, replace(scaled, groups=groups))


def _named(name: str, outline: Outline) -> Outline:
    return replace(
        outline, name=name, basis=_BASIS, stored="bf16", stored_experts="", n_draft_layers=0
    )


def _layer_parameters(outline: Outline) -> int:
    return outline.n_parameters - outline.vocab_size * outline.dim * (
        1 if outline.tied_embeddings else 2
    )


def _with_layers(outline: Outline, share: float) -> Outline:
    """The outline with about `share` of its layers, at least one of each kind."""

    def count(group: LayerGroup) -> int:
        return min(max(round(group.count * share), 1), LIMITS["n_layers"])

    return replace(
        outline, groups=tuple(replace(group, count=count(group)) for group in outline.groups)
    )


def _with_experts(outline: Outline, total: float) -> Outline:
    """The outline with as many experts as make up `total`, and no fewer than a token meets."""
    routed = [group for group in outline.groups if group.ffn.n_experts]
    one = sum(group.count * outline.expert_parameters(group) for group in routed)
    present = max(group.ffn.n_experts for group in routed)
    wanted = present + round((total - outline.n_parameters) / one)
    groups = tuple(
        replace(
            group,
            ffn=replace(group.ffn, n_experts=min(max(wanted, group.ffn.top_k, 2), MAX_EXPERTS)),
        )
        if group.ffn.n_experts
        else group
        for group in outline.groups
    )
    return replace(outline, groups=groups)
