"""Compile the published models for the systems of LPUs and write what their steps take, for `takt.perf`.

    python tools/build_lpu_steps.py                    all jobs, about an hour and a half of one core
    python tools/build_lpu_steps.py --model llama-3.1-8b --system groqrack-v1
    python tools/build_lpu_steps.py --missing --seconds 600    only what the table lacks, for ten minutes

Rows are written as they are made; others of the file stay. Of the sizes of a group the largest is taken that needs at
most so many times the fewest chips as `JOBS` says: larger groups are faster, but leave more of the SRAM empty.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from takt.chips import System, load_system
from takt.errors import CapacityError, CompileError, TaktError
from takt.lpu.isa.table import Type
from takt.lpu.system import compile_system, require_supported
from takt.lpu.system.compile import LONG_CONTEXT, SystemCompiled, _visits
from takt.lpu.system.line import groups_in_line
from takt.lpu.system.programs import Cut, Library
from takt.lpu.system.shards import can_split
from takt.lpu.system.stages import cut_into_stages
from takt.models import SHAPES, ModelShape
from takt.perf.lpu_exact import row_of
from takt.perf.lpu_table import FILE, StepRow, load_rows, sizes_digest, write_rows

SYSTEMS = ("groqrack-v1", "lpx-rack")
MODELS = (
    "llama-3.1-8b", "llama-3.3-70b", "gpt-oss-20b", "mixtral-8x7b", "llama-2-70b", "qwen3-32b", "gpt-oss-120b",
    "qwen3-8b", "deepseek-v3", "qwen3-30b-a3b", "llama-2-7b", "qwen2.5-72b", "llama-3.1-405b", "llama-3.2-3b",
    "llama-3.2-1b", "mistral-7b", "qwen3-0.6b", "qwen2.5-7b", "qwen2.5-32b", "mixtral-8x22b", "llama-2-13b",
    "qwen3-235b-a22b",
)  # fmt: skip
DENSE, FAST = 1.35, 2.2
JOBS = (
    (2048, (1, 16), DENSE),
    (9216, (1, 16), DENSE),
    (2048, (1, 16), FAST),
    (2048, (4, 64), DENSE),
    (33792, (1,), DENSE),
    (9216, (1, 16), FAST),
    (9216, (4, 64), DENSE),
)
"""(context, users, multiple of the fewest chips): in this order, all models each."""
SLICES = 64  # stages that a layer can need at the most


@dataclass(frozen=True)
class Job:
    model: str
    system: str
    context: int
    users: tuple[int, ...]
    spare: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="only this model; may be repeated")
    parser.add_argument("--system", action="append", help="only this system; may be repeated")
    parser.add_argument("--context", action="append", type=int, help="only this context")
    parser.add_argument(
        "--missing", action="store_true", help="leave rows of the table as they are"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="the table, %(default)s")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no job after that long")
    options = parser.parse_args()
    rows = {row.key: row for row in (load_rows(options.out) if options.out.exists() else ())}
    systems = {name: load_system(name) for name in options.system or SYSTEMS}
    start = time.monotonic()
    for job in jobs(options.model or MODELS, tuple(systems)):
        if options.context and job.context not in options.context:
            continue
        if time.monotonic() - start > options.seconds:
            print("out of time", file=sys.stderr)
            break
        done = [row for row in rows.values() if options.missing and answers(row, job)]
        have = {(row.users, row.group) for row in done}
        for row in compile_job(job, systems[job.system], have):
            same = (row.users, row.group)
            for old in [
                k for k, r in rows.items() if answers(r, job) and (r.users, r.group) == same
            ]:
                del rows[old]
            rows[row.key] = row
            write_rows(options.out, rows.values())
            print(
                f"{row.key} step {row.step_cycles} interval {row.interval_cycles[-1]}",
                file=sys.stderr,
            )
    return 0


def jobs(models: Sequence[str], systems: Sequence[str]) -> Iterator[Job]:
    for context, users, spare in JOBS:
        for model in models:
            for system in systems:
                if context <= SHAPES[model].max_context:
                    yield Job(model, system, context, users, spare)


def answers(row: StepRow, job: Job) -> bool:
    return job.model in row.models and row.system == job.system and row.context == job.context


def compile_job(job: Job, system: System, have: set[tuple[int, int]]) -> Iterator[StepRow]:
    shape = SHAPES[job.model]
    try:
        require_supported(shape)
    except TaktError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return
    libraries = {
        n: Library(cut_of(shape, system, n, job.context)) for n in group_sizes(shape, system)
    }
    for count in job.users:
        begun = time.monotonic()
        row = first_that_compiles(job, shape, system, libraries, count, have)
        print(
            f"{job.model} {job.system} {job.context} × {count}: {time.monotonic() - begun:.0f} s",
            file=sys.stderr,
        )
        if row is not None:
            yield row


def group_sizes(shape: ModelShape, system: System) -> list[int]:
    sizes = [1 << k for k in range(system.node.chips.bit_length())]
    return [n for n in sizes if n <= system.node.chips and can_split(shape, n)]


def cut_of(shape: ModelShape, system: System, n: int, context: int) -> Cut:
    links = system.node.links_per_pair if n > 1 else 0
    return Cut(shape=shape, chip=system.chip, n=n, n_links=links, weights=Type.I8, context=context)


def first_that_compiles(
    job: Job,
    shape: ModelShape,
    system: System,
    libraries: dict[int, Library],
    users: int,
    have: set[tuple[int, int]],
) -> StepRow | None:
    """The largest group that is worth its chips and for which the scheduler finds a place for everything."""
    chips: dict[int, int] = {}
    for n, library in libraries.items():
        try:
            stages = cut_into_stages(library, SLICES * (shape.n_layers + 1), users, even=False)
        except CapacityError:
            continue
        if n * len(stages) <= system.max_chips:
            chips[n] = n * len(stages)
    if not chips:
        print(f"{job}: does not fit for {users} users", file=sys.stderr)
        return None
    most = job.spare * min(chips.values())
    order = sorted(chips, key=lambda n: (chips[n] > most, -n if chips[n] <= most else chips[n]))
    for n in order:
        if (users, n) in have:
            return None
        try:
            made = lay_out(libraries[n], system, chips[n], users)
            return row_of(made, positions_of(job.context, system.chip.lanes), names_of(shape))
        except (CapacityError, CompileError) as error:
            print(f"{job} in groups of {n}: {error}", file=sys.stderr)
    return None


def lay_out(library: Library, system: System, n_chips: int, users: int) -> SystemCompiled:
    """As `compile_system` in groups of this size, with programs shared by all numbers of users."""
    cut, network = library.cut, system.network(n_chips)
    if cut.context >= LONG_CONTEXT:  # which may be spread over chips
        return compile_system(
            cut.shape, system, n_chips=n_chips, weights="int8", context=cut.context, users=users, group=cut.n
        )  # fmt: skip
    stages = cut_into_stages(library, n_chips // cut.n, users, even=False)
    out = SystemCompiled(
        shape=cut.shape, system=system, network=network, n_chips=n_chips, library=library, stages=stages,
        groups=groups_in_line(network, cut.group_chips, len(stages)), users=users, objective="latency",
        position=cut.context - 1, visits=(),
    )  # fmt: skip
    out.visits = tuple(_visits(out))
    return out


def positions_of(context: int, lanes: int) -> tuple[int, ...]:
    """In the first, the middle and the last block: what lies between is a line, docs/systems.md says how nearly."""
    last = (context - 1) // lanes
    return tuple(min(block * lanes, context - 1) for block in (0, last // 2, last))


def names_of(shape: ModelShape) -> tuple[str, ...]:
    digest = sizes_digest(shape)
    return tuple(name for name in SHAPES if sizes_digest(SHAPES[name]) == digest)


if __name__ == "__main__":
    raise SystemExit(main())
