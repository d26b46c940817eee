"""Steps of a group as plans: over the links between its chips, or all of them on one chip.

A step yields what it sends to each chip of its group, and is sent what it receives (see `lower`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from takt.lpu.compiler.ir import Append, Plan
from takt.lpu.system.latent import LatentStep
from takt.lpu.system.lower import Swap
from takt.lpu.system.place import SplitLayout

Steps = Callable[[LatentStep], Swap]


def over_links(layout: SplitLayout, name: str, block: int, n_links: int, steps: Steps) -> Plan:
    """The plan of every chip of a group: what it yields goes over links, `n_links` to each other chip."""
    step = LatentStep(layout, name, block)
    swaps = steps(step)
    try:
        sent = next(swaps)
        while True:
            received = [sent[0]]
            for j in range(1, step.n):
                links = tuple(range((j - 1) * n_links, j * n_links))
                received.append([])
                for i, source in enumerate(sent[j]):
                    target = step.temp(f"from{j}.{i}.{source.name}", source.type)
                    work = Append("exchange", source, target, links=links)
                    step.task("exchange").sxm = work
                    received[-1].append(target)
            sent = swaps.send(received)
    except StopIteration:
        return step.plan


def on_one_chip(layouts: Sequence[SplitLayout], name: str, block: int, steps: Steps) -> Plan:
    """The same steps of all chips of a group in one plan of one chip: the same sums in the same order."""
    plan = Plan(name=name)
    made = [LatentStep(layout, name, block, plan) for layout in layouts]
    swaps = [steps(step) for step in made]
    sent = []
    for swap in swaps:
        sent.append(next(swap, None))
    while all(s is not None for s in sent):
        received = [[sent[r ^ j][j] for j in range(len(made))] for r in range(len(made))]  # type: ignore[index]
        sent = []
        for swap, parts in zip(swaps, received, strict=True):
            try:
                sent.append(swap.send(parts))
            except StopIteration:
                sent.append(None)
    return plan
