"""From layers to steps: layouts, dealing to chains, and memory sets of every tensor.

A step is a convolution or half a pool (rows, then columns). Rules:
- Tensors that a residual joins have one layout, by shape alone; so have all that a padded window reads, in blocks that
  divide the image, so that what lies outside is a whole vector.
- The result of a convolution over blocks that only 1×1 kernels read begins half a block before the image: each of its
  blocks then lies over fewer blocks of the input.
- A tensor that a pool reads is dealt to chains by rows (by columns between the halves), so that the vectors of a window
  lie in different slices.
- Input, residual and output of a step lie in three different sets of slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from takt.chips import Chip
from takt.errors import CompileError, UnsupportedError
from takt.lpu.vision.graph import Conv, ImageGraph, MaxPool, Shape, sources
from takt.lpu.vision.layouts import ROOM, Layout, best_block, block_layout, spread_layouts
from takt.lpu.vision.patches import Patches, lay_patches
from takt.lpu.vision.windows import window_classes

N_SETS = 3
MOST_WINDOW = 3
"""Rows or columns of a pool: a chain has streams for three operands."""


class Deal(Enum):
    """How a tensor's vectors are dealt to the chains that make them."""

    RUNS = "runs"
    ROWS = "rows"
    COLUMNS = "columns"


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfPool:
    """A maximum over `kernel` grid positions of one axis (0 rows, 1 columns)."""

    name: str
    input: str
    axis: int
    kernel: int
    stride: int
    pad: int


Step = Conv | HalfPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in order; layout, deal and set of every tensor. `patches`: of the first convolution, which reads the image."""

    steps: tuple[Step, ...]
    layouts: dict[str, Layout]
    deals: dict[str, Deal]
    sets: dict[str, int]
    patches: Patches


def make_plan(graph: ImageGraph, chip: Chip) -> Plan:
    """Choose. UnsupportedError for networks of another family."""
    first = graph.layers[0]
    if not isinstance(first, Conv) or any(graph.input in sources(x) for x in graph.layers[1:]):
        raise UnsupportedError(
            "the image must go into one convolution, the first layer, and nowhere else"
        )
    shapes = graph.shapes()
    layouts = _layouts(graph)
    steps: list[Step] = []
    deals = dict.fromkeys(shapes, Deal.RUNS)
    for layer in graph.layers:
        if isinstance(layer, Conv):
            steps.append(layer)
            continue
        middle = f"{layer.name}.rows"
        _halve(layer, middle, layouts, shapes)
        lead = 0 if layouts[middle].spread else layer.pads[1]
        deals[layer.input], deals[middle] = Deal.ROWS, Deal.COLUMNS
        rows = HalfPool(name=middle, input=layer.input, axis=0, kernel=layer.kernel[0], stride=layer.stride[0], pad=layer.pads[0])  # fmt: skip
        columns = HalfPool(name=layer.name, input=middle, axis=1, kernel=layer.kernel[1], stride=layer.stride[1], pad=lead)  # fmt: skip
        steps += [rows, columns]
    found = lay_patches(
        first, layouts[first.name], graph.input_shape[0], _host_cycles_per_byte(chip)
    )
    layouts[graph.input] = found.layout
    return Plan(steps=tuple(steps), layouts=layouts, deals=deals, sets=_sets(steps), patches=found)


def _host_cycles_per_byte(chip: Chip) -> float:
    return chip.core.clock_hz / chip.host.bytes_per_s


def _halve(
    pool: MaxPool, middle: str, layouts: dict[str, Layout], shapes: dict[str, Shape]
) -> None:
    """Layouts of a pool's input, of what lies between its halves, and of its output."""
    before, after = shapes[pool.input], shapes[pool.name]
    if max(pool.kernel) > MOST_WINDOW or before[0] > ROOM:
        raise UnsupportedError(
            f"pool {pool.name}: windows up to {MOST_WINDOW} and {ROOM} channels, not {pool.kernel} and {before[0]}"
        )
    if not layouts[pool.input].spread:
        between = (before[0], after[1], before[2])
        layouts[middle] = block_layout(between, (1, 1))
        layouts[pool.name] = block_layout(after, (1, 1))
    else:
        spread = spread_layouts(before, after, pool.stride[1], pool.kernel[1], pool.pads[1])
        if spread is None:
            raise CompileError(f"no spread layout for {pool.name}", stage="plan")
        _, layouts[middle], layouts[pool.name] = spread


def _layouts(graph: ImageGraph) -> dict[str, Layout]:
    """Layout of every tensor but the image's patches and what lies between halves of pools."""
    shapes = graph.shapes()
    readers: dict[str, list[Conv | MaxPool]] = {name: [] for name in shapes}
    joined: set[str] = set()
    for layer in graph.layers:
        for name in sources(layer):
            readers[name].append(layer)
        if isinstance(layer, Conv) and layer.residual:
            joined |= {layer.name, layer.residual}
    pooled = {layer.name for layer in graph.layers if isinstance(layer, MaxPool)}
    layouts: dict[str, Layout] = {}
    for layer in graph.layers:
        name, read = layer.name, readers[layer.name]
        pools = [reader for reader in read if isinstance(reader, MaxPool)]
        if name in pooled:
            layouts[name] = _pool_output(layer, layouts[layer.input], shapes)
        elif pools:
            layouts[name] = _pool_input(layer, pools, len(read), name in joined, graph, shapes)
        else:
            block = best_block(shapes[name])
            layouts[name] = block_layout(shapes[name], block)
            free = name not in joined and all(r.kernel == (1, 1) for r in read) and read
            if free and isinstance(layer, Conv) and layer.input in layouts:
                layouts[name] = _best_phase(layer, layouts[layer.input], shapes[name], block)
    clash = joined & (
        pooled | {n for n, read in readers.items() if any(isinstance(r, MaxPool) for r in read)}
    )
    if clash:
        raise UnsupportedError(f"tensor {min(clash)} is both pooled and added to another")
    return layouts


def _pool_input(
    layer: Conv | MaxPool,
    pools: list[MaxPool],
    n_readers: int,
    is_joined: bool,
    graph: ImageGraph,
    shapes: dict[str, Shape],
) -> Layout:
    pool = pools[0]
    if n_readers == 1 and not is_joined and layer.input == graph.input:
        spread = spread_layouts(shapes[layer.name], shapes[pool.name], pool.stride[1], pool.kernel[1], pool.pads[1])  # fmt: skip
        if spread is not None:
            return spread[0]
    return block_layout(shapes[layer.name], (1, 1))


def _pool_output(layer: Conv | MaxPool, source: Layout, shapes: dict[str, Shape]) -> Layout:
    if source.spread and isinstance(layer, MaxPool):
        spread = spread_layouts(shapes[layer.input], shapes[layer.name], layer.stride[1], layer.kernel[1], layer.pads[1])  # fmt: skip
        if spread is not None:
            return spread[2]
    return block_layout(shapes[layer.name], (1, 1))


def _best_phase(conv: Conv, source: Layout, shape: Shape, block: tuple[int, int]) -> Layout:
    """The phase with the fewest passes."""
    options = [
        block_layout(shape, block, (-a, -b))
        for a in range(min(block[0], 2))
        for b in range(min(block[1], 2))
    ]

    def passes(layout: Layout) -> int:
        classes = window_classes(conv, source, layout)
        return sum(len(c.passes) * len(c.outputs) for c in classes)

    return min(options, key=passes)


def _sets(steps: list[Step]) -> dict[str, int]:
    """Memory sets such that each step's tensors lie in different ones."""
    edges: dict[str, set[str]] = {}
    for step in steps:
        names = [step.name, *sources(step)] if isinstance(step, Conv) else [step.name, step.input]
        for name in names:
            edges.setdefault(name, set()).update(n for n in names if n != name)
    order, chosen = list(edges), dict[str, int]()
    at, next_try = 0, dict[str, int]()
    while at < len(order):
        name = order[at]
        taken = {chosen[n] for n in edges[name] if n in chosen}
        options = [s for s in range(next_try.get(name, 0), N_SETS) if s not in taken]
        if options:
            chosen[name], next_try[name] = options[0], options[0] + 1
            at += 1
            continue
        next_try.pop(name, None)
        at -= 1
        if at < 0:
            raise UnsupportedError(
                "the network's tensors cannot be told apart with three sets of slices"
            )
        del chosen[order[at]]
    return chosen
