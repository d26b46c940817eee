"""How fast the fast engine is where it matters: f16 tiles that stream through one pair of planes, one activation each.

Builds a program that installs tile after tile from SRAM (as a decode step does with the weights of a model), sums up
five at a time and writes the result. Prints the time to prove, to lift and to run, per thread count.
`python benchmarks/engine_tiles.py --tiles 400`; times are of the machine it runs on.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import numpy as np

from takt.chips import Chip, load_chip
from takt.lpu.fast import FastEngine
from takt.lpu.fast.lift import lift
from takt.lpu.isa.program import Program, make_program, queues
from takt.lpu.isa.table import ADD, EMIT, KEEP, Type, stream_ref
from takt.lpu.machine import Memory
from takt.lpu.machine.checker import prove

WEST = 1
PERIOD = 24  # cycles a tile: 20 to load it, the rest for the activation
DEPTH = 5  # tiles summed up into one result
Row = tuple[int, str, int, dict[str, int]]


def tiles_program(chip: Chip, n_tiles: int) -> Program:
    """Weights in 32 slices of either hemisphere in turn, activations and results in others."""
    names = {queue.name: queue for queue in queues(chip)}
    rows: list[Row] = []

    def read(name: str, at: int, target: int, when: int, **columns: int) -> None:
        queue = names[name]
        start = when - (queue.x - target) - chip.mem.read_cycles
        rows.append((queue.number, "read", start, {"a": at, **columns}))

    end = names["mxm.0.w"].x
    for tile in range(n_tiles):
        base, word = 100 + PERIOD * tile, tile // 2 * 20
        for i in range(32):
            name = f"mem.{'we'[tile % 2]}{i}"
            read(name, word, end, base, b=stream_ref(i, WEST), count=20, step=1)
        for plane in (0, 1):
            load = {"a": stream_ref(16 * plane, WEST), "count": 20, "step": 1}
            rows.append((names[f"mxm.{plane}.w"].number, "lw", base, load))
            rows.append((names[f"mxm.{plane}.w"].number, "iw", base + 20, {}))
        for i in range(2):
            read(f"mem.w{32 + i}", tile % 100, end, base + 22, b=stream_ref(i, WEST))
        act = {"a": stream_ref(0, WEST), "b": Type.F16}
        rows.append((names["mxm.0.a"].number, "abc", base + 22, act))
        first, last = tile % DEPTH == 0, tile % DEPTH == DEPTH - 1
        flags = (0 if first else ADD) | (EMIT if last else KEEP)
        done = base + 22 + chip.mxm.activation_to_result_cycles
        acc = {"a": 3, "b": stream_ref(0, 0), "c": flags, "d": Type.F32}
        rows.append((names["mxm.0.c"].number, "acc", done, acc))
        if last:
            for i in range(4):
                slice_ = names[f"mem.w{36 + i}"]
                when = done + chip.mxm.result_to_stream_cycles + slice_.x - end
                write = {"a": tile // DEPTH, "b": stream_ref(i, 0)}
                rows.append((slice_.number, "write", when, write))
    constant = np.array(
        [(names[f"mem.{s}{i}"].number, 0, (n_tiles + 1) // 2 * 20) for s in "we" for i in range(32)]
    )
    return replace(make_program(chip, rows, name="tiles"), constant=constant)


def filled_memory(chip: Chip, n_tiles: int) -> Memory:
    """Weights of ordinary size; low bytes in slices 0–15, high ones in 16–31 of each hemisphere."""
    rng = np.random.default_rng(0)
    memory = Memory(chip)
    words = (n_tiles + 1) // 2 * 20
    tile = rng.normal(0, 0.05, (16, 20, chip.lanes)).astype(np.float16).view(np.uint16)
    copies = -(-words // 20)
    for side in (0, chip.mem.slices_per_hemisphere):
        memory.data[side : side + 16, :words] = np.tile(
            (tile & 255).astype(np.uint8), (1, copies, 1)
        )
        memory.data[side + 16 : side + 32, :words] = np.tile(
            (tile >> 8).astype(np.uint8), (1, copies, 1)
        )
    acts = rng.normal(0, 1, (100, chip.lanes)).astype(np.float16).view(np.uint16)
    memory.data[32, :100], memory.data[33, :100] = acts & 255, acts >> 8
    return memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tiles", type=int, default=800, help="tiles of 320 × 320 f16 weights, at most 818"
    )
    parser.add_argument(
        "--runs", type=int, default=10, help="runs per thread count; the best is shown"
    )
    options = parser.parse_args()
    chip = load_chip("lpu-v1")
    chip = replace(
        chip, icu=replace(chip.icu, queue_depth_instructions=1 << 20)
    )  # no text to fetch
    program, memory = tiles_program(chip, options.tiles), filled_memory(chip, options.tiles)
    start = time.perf_counter()
    cycles = prove(program, chip).cycles
    proved = time.perf_counter()
    lift(program, chip)
    lifted = time.perf_counter()
    engine = FastEngine(chip, memory)
    prepared = engine.prepare(program)
    weights = options.tiles * 2 * chip.mxm.rows * chip.mxm.cols
    print(
        f"{options.tiles} tiles, {weights / 1e6:.0f} MB of weights, {cycles:,} cycles, {prepared.n_ops:,} operations"
    )
    print(
        f"prove {proved - start:.2f} s, lift {lifted - proved:.2f} s, {prepared.host_bytes / 1e6:.1f} MB for the tape"
    )
    for threads in (1, 2):
        engine.threads = threads
        best = float("inf")
        for _ in range(options.runs):
            begin = time.perf_counter()
            engine.run(prepared)
            best = min(best, time.perf_counter() - begin)
        rate = f"{weights / best / 1e9:.1f} GB/s, {cycles / best / 1e6:.2f} M cycles/s"
        print(f"{threads} thread(s): {best * 1e3:.2f} ms, {rate}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
