"""A small model on a few chips, and a line of two chips small enough to work out by hand."""

from dataclasses import replace

import pytest

from takt.chips import Wire, load_chip, load_system
from takt.lpu.isa import parse_program
from takt.lpu.system import SystemCompiled, compile_system
from takt.models import SHAPES, Experts
from takt.report import Schedule, SystemSchedule
from takt.report.line import Visit, Words
from takt.report.schedule import Span

CHIP = load_chip("lpu-v1")

# At the MXM, 16 hops out, from cycle 10 + 1 + 16 - 4: what e12, 4 hops out, reads in cycle 10.
STAGE = """.chip lpu-v1
.name stage
.cycles 400
10: mem.e12 read 100 e0 x20 +1
23: mxm.2.w lw e0 g0 x20 +1
60: mem.e12 read 500 e0 x5 +1
73: mxm.2.w lw e0 g0 x5 +1
78: mxm.2.w lw e0 g5 x2 +1
90: mxm.2.a abc e3 i8 x4
123: mxm.2.c acc r0 w0 emit i32 x4
"""
SENDER = ".chip lpu-v1\n.name transfer\n.cycles 250\n5: sxm.c2c.e0 send e4 link1 x2 @23\n"
RECEIVER = ".chip lpu-v1\n.name transfer\n.cycles 300\n20: sxm.c2c.w0 receive w4 link2 x2 @30\n"


def schedule(text: str, *spans: Span) -> Schedule:
    return Schedule(program=parse_program(text, CHIP), chip=CHIP, spans=spans)


@pytest.fixture(scope="session")
def by_hand() -> SystemSchedule:
    """Chip 0, a transfer, chip 1: 400 + 300 + 400 cycles, in steps of 256."""
    stage = schedule(STAGE, Span("k", 0, 90, 129), Span("sum", 0, 120, 139), Span("k", 0, 130, 149))
    words = (Words("q, k, v", (56,), 100, 120), Words("keys and values", (56,), 500, 505))
    common = {"bound_cycles": 200, "words": words, "schedules": (stage,), "limit": "weights"}
    first = Visit(
        what="0.attention", kind="attention", layer=0, stage=0, start_cycle=0, cycles=400, chips=(0,), **common
    )  # fmt: skip
    moved = Visit(
        what="transfer", kind="transfer", layer=-1, stage=0, start_cycle=512, cycles=300, chips=(0, 1),
        bound_cycles=240, limit="links", schedules=(schedule(SENDER), schedule(RECEIVER)),
    )  # fmt: skip
    last = replace(first, what="1.attention", layer=1, stage=1, start_cycle=1024, chips=(1,))
    return SystemSchedule(
        model="small", system="pair", chip=CHIP, n_chips=2, groups=((0,), (1,)), users=2,
        wires=(Wire(source_chip=0, source_link=1, target_chip=1, target_link=2, extra_cycles=9),),
        step_cycles=1424, interval_cycles=1024, period_cycles=2048, visits=(first, moved, last),
    )  # fmt: skip


@pytest.fixture(scope="session")
def compiled() -> SystemCompiled:
    """Two stages of two chips, three users."""
    shape = replace(
        SHAPES["stories260k"], name="tiny", n_layers=2, windows=(None, None), max_context=400
    )
    return compile_system(
        shape, load_system("groqnode-v1"), n_chips=4, group=2, context=330, users=3,
        objective="throughput", weights="int8",
    )  # fmt: skip


@pytest.fixture(scope="session")
def line(compiled: SystemCompiled) -> SystemSchedule:
    return SystemSchedule.of(compiled)


@pytest.fixture(scope="session")
def mixture() -> SystemSchedule:
    """Experts that are chosen as the program runs: their weights are looked up."""
    shape = replace(
        SHAPES["stories260k"], name="mixture", n_layers=1, windows=(None,), max_context=400,
        experts=Experts(n_experts=6, top_k=2, hidden_dim=64),
    )  # fmt: skip
    return SystemSchedule.of(
        compile_system(shape, load_system("groqnode-v1"), n_chips=2, group=2, context=64)
    )
