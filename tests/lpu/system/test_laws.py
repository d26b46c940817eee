"""What holds for every schedule of a system, whatever the model: proofs, gaps, bounds, places in SRAM, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from takt.chips import System, load_system
from takt.lpu.compiler.ir import Buffer, FromBuffer
from takt.lpu.isa.table import BY_NAME, Type
from takt.lpu.machine import SystemProgram, prove_system
from takt.lpu.machine.state import total_activity
from takt.lpu.system.compile import SystemCompiled, compile_on_one_chip, compile_system
from takt.lpu.system.latent import LatentStep
from takt.lpu.system.place import WORK_WORDS
from takt.lpu.system.programs import Kind
from takt.lpu.system.session import SystemSession
from takt.models import SHAPES, Experts, Latent, random_model

from .conftest import tiny

SHAPE_CASES: dict[str, dict[str, Any]] = {
    "dense": {"n_layers": 5, "windows": (None, 20, None, 20, None)},
    "experts": {
        "n_layers": 4,
        "experts": Experts(
            n_experts=12,
            top_k=3,
            hidden_dim=64,
            scoring="sigmoid",
            n_shared=1,
            shared_hidden_dim=64,
            first_dense_layers=2,
        ),
    },
    "latent attention": {
        "n_layers": 4,
        "n_kv_heads": 4,
        "head_dim": 48,
        "latent": Latent(q_rank=48, kv_rank=64, rope_dim=16, nope_dim=32, value_dim=32),
    },
}
CUTS = [
    ("groqnode-v1", 8, 8, "latency", 1),
    ("groqnode-v1", 8, 2, "throughput", 3),
    ("groqnode-v1", 8, 1, "throughput", 1),
    ("groqrack-v1", 24, 8, "throughput", 2),
]
CASES = [
    pytest.param(name, *cut, id=f"{name}, {cut[1]} chips in groups of {cut[2]}")
    for name in SHAPE_CASES
    for cut in CUTS
]


@pytest.fixture(scope="module")
def compiled_case() -> Callable[..., SystemCompiled]:
    """Each case compiled once, int8 with a context of 400."""
    made: dict[tuple[Any, ...], SystemCompiled] = {}

    def get(name: str, system: str, n: int, group: int, objective: str, users: int) -> Any:
        key = name, system, n, group, objective, users
        if key not in made:
            made[key] = compile_system(
                tiny(**SHAPE_CASES[name]),
                load_system(system),
                n_chips=n,
                group=group,
                users=users,
                objective=objective,
                context=400,
            )
        return made[key]

    return get


@pytest.mark.parametrize(("name", "system", "n", "group", "objective", "users"), CASES)
class TestEverySchedule:
    @pytest.fixture
    def compiled(
        self,
        name: str,
        system: str,
        n: int,
        group: int,
        objective: str,
        users: int,
        compiled_case: Callable[..., SystemCompiled],
    ) -> SystemCompiled:
        return compiled_case(name, system, n, group, objective, users)

    def test_it_is_proved_and_takes_the_cycles_claimed(self, compiled: SystemCompiled) -> None:
        for position in (10, 399):
            at = compiled.at(position)
            for user in range(compiled.users):
                report = prove_system(at.program(user))
                assert report.cycles == at.step_cycles
                assert report.activity == total_activity(at.activities())

    def test_visits_of_a_chip_follow_each_other_with_time_to_launch(
        self, compiled: SystemCompiled
    ) -> None:
        chip = compiled.cut.chip
        for visit in compiled.visits:
            assert visit.start_cycle % chip.c2c.epoch_cycles == 0
            assert len(set(visit.chips)) == len(visit.chips)
        for c in range(compiled.n_chips):
            mine = [v for v in compiled.visits if c in v.chips]
            for before, after in pairwise(mine):
                assert after.start_cycle >= before.end_cycle + chip.launch_cycles

    def test_bounds_are_below_the_facts(self, compiled: SystemCompiled) -> None:
        for visit in compiled.visits:
            assert 0 < visit.bound_cycles <= visit.cycles
        assert compiled.bound_cycles == sum(v.bound_cycles for v in compiled.visits)
        assert compiled.bound_cycles <= compiled.step_cycles

    def test_users_in_flight_fit_the_period(self, compiled: SystemCompiled) -> None:
        chip = compiled.cut.chip
        assert compiled.interval_cycles % chip.c2c.epoch_cycles == 0
        assert compiled.users * compiled.interval_cycles <= compiled.period_cycles
        assert compiled.step_cycles <= compiled.period_cycles
        assert compiled.tokens_per_s_total == compiled.users * compiled.tokens_per_s_user
        assert compiled.tokens_per_s_user * compiled.period_cycles == pytest.approx(chip.clock_hz)

    def test_sends_use_wires_that_exist(self, compiled: SystemCompiled) -> None:
        program = compiled.program()
        assert set(program.wires) <= set(compiled.network.wires)
        ends = {(w.source_chip, w.source_link) for w in program.wires}
        assert sends_of(program) <= ends

    def test_groups_are_disjoint_and_each_is_joined_to_the_next(
        self, compiled: SystemCompiled
    ) -> None:
        chips = [c for group in compiled.groups for c in group]
        assert len(set(chips)) == len(chips)
        assert max(chips) < compiled.n_chips
        for group in compiled.groups:
            assert len({c // compiled.network.node_chips for c in group}) == 1
        for first, second in pairwise(compiled.groups):
            assert any(compiled.network.links(a, b) for a in first for b in second)

    def test_slots_of_a_stage_lie_apart_and_inside_sram(self, compiled: SystemCompiled) -> None:
        for stage in compiled.stages:
            assert stage.words <= stage.capacity
            assert_apart(compiled, stage.slots)

    def test_every_piece_of_the_model_is_somewhere_once(self, compiled: SystemCompiled) -> None:
        shape = compiled.shape
        slots = [slot for stage in compiled.stages for slot in stage.slots]
        assert [s.layer for s in slots if s.kind.attention] == list(range(shape.n_layers))
        for layer in range(shape.n_layers):
            parts = [s.kind.ffn for s in slots if s.layer == layer and s.kind.ffn[1]]
            assert sum(count / of for _, count, of in parts) == pytest.approx(1)
        for what in ("embed", "head"):
            parts = [getattr(s.kind, what) for s in slots if getattr(s.kind, what)[1]]
            assert sum(count / of for _, count, of in parts) == pytest.approx(1)


def sends_of(program: SystemProgram) -> set[tuple[int, int]]:
    """(chip, link) of every send."""
    links = []
    for each in program.programs:
        rows = each.instructions
        links.append(np.unique(rows["b"][rows["op"] == BY_NAME["send"].op]).tolist())
    return {
        (i.chip, i.links[link] if i.links else link)
        for i in program.instances
        for link in links[i.program]
    }


def assert_apart(compiled: SystemCompiled, slots: Any) -> None:
    """No word of a region, of any user, belongs to another region, to a table or to what does not move."""
    layout = compiled.cut.layouts(slots[0].kind)[0]
    weights, work = layout.image.weight_slices, layout.image.work_slices
    tops = [compiled.cut.layouts(s.kind)[0].image.top for s in slots]
    top = min(min(t[s] for s in weights) for t in tops)
    taken: list[tuple[int, int]] = []
    taken_work: list[tuple[int, int]] = []
    for slot in slots:
        for name, region in compiled.library.regions(slot.kind).items():
            at, work_at = slot.bases[name]
            users = compiled.users if name == "cache" else 1
            taken.append((at, at + users * region.words))
            taken_work.append((work_at, work_at + region.work_words))
    for ranges in (taken, taken_work):
        filled = sorted(r for r in ranges if r[1] > r[0])
        assert all(a[1] <= b[0] for a, b in pairwise(filled))
    first, first_work = (min(r[0] for r in ranges) for ranges in (taken, taken_work))
    common = compiled.cut.layouts(replace(slots[0].kind, **NOTHING))[0].image.next_word
    assert first >= max(common[s] for s in weights)
    assert first_work + WORK_WORDS <= max(common[s] for s in work)
    assert max(r[1] for r in taken) <= top
    assert max(r[1] for r in taken_work) <= first_work + WORK_WORDS


NOTHING: dict[str, Any] = {
    "embed": (0, 0, 1),
    "attention": False,
    "window": 0,
    "ffn": (0, 0, 1),
    "experts": False,
    "head": (0, 0, 1),
}


@pytest.mark.parametrize("name", ["dense", "experts"])
def test_the_engine_reports_the_activity_of_the_schedule(name: str, small_node: System) -> None:
    shape = tiny(**SHAPE_CASES[name])
    compiled = compile_system(
        shape, small_node, n_chips=4, group=2, objective="throughput", context=64
    )
    step = SystemSession(compiled, random_model(shape)).step(3)
    assert step.activity == total_activity(compiled.activities())
    assert step.cycles == compiled.step_cycles


def test_programs_grow_with_distinct_layers_not_with_layers_or_chips(node: System) -> None:
    """Six times the layers on four times the chips: not one program more."""
    few = compile_system(tiny(n_layers=4), node, n_chips=2, group=2, context=64)
    many = compile_system(
        tiny(n_layers=24), node, n_chips=8, group=2, objective="throughput", context=64
    )
    assert len(many.stages) == 4
    kinds = {kind for kind, _ in many.library.programs}
    assert len(many.library.programs) <= len(few.library.programs) + 2  # layers cut in two
    assert {kind for kind, _ in few.library.programs} - kinds == set()
    assert len(many.program().programs) < len(many.program().instances) / 5


def test_the_next_block_of_positions_takes_a_program_more_for_attention_only(
    small_node: System,
) -> None:
    compiled = compile_system(tiny(), small_node, n_chips=2, group=2, context=400)
    before = set(compiled.library.programs)
    assert compiled.at(350) is compiled
    other = compiled.at(0)
    assert other.at(300) is other
    assert compiled.at(5) is other
    more = set(compiled.library.programs) - before
    assert {kind.attention for kind, _ in more} == {True}
    assert sum(v.cycles for v in other.visits) <= sum(v.cycles for v in compiled.visits)
    read, more_read = (total_activity(c.activities()).sram_read_bytes for c in (other, compiled))
    assert read < more_read


@pytest.mark.slow
def test_llama_2_70b_on_576_chips_serves_a_user_faster_than_published() -> None:
    """Published: more than 300 tokens/s for each user, Llama-2-70B, 576 chips, context 4,096 (Groq, November 2023)."""
    shape = SHAPES["llama-2-70b"]
    compiled = compile_system(shape, load_system("groqrack-v1"), n_chips=576, context=4096)
    assert compiled.tokens_per_s_user > 300
    assert compiled.step_cycles <= 2 * compiled.bound_cycles
    assert len(compiled.library.programs) <= 16
    assert len(compiled.transfers) <= 16
    assert prove_system(compiled.program()).cycles == compiled.step_cycles


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_a_sum_over_chips_has_the_same_bits_on_every_chip(n: int, small_node: System) -> None:
    """Chips count the others from themselves, so each adds the parts in another order."""
    parts = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    layout = compile_on_one_chip(tiny(), small_node, n=1).cut.layouts(Kind())[0]
    found = set()
    for rank in range(n):
        step = LatentStep(layout, "sum", 0)
        buffers = [Buffer(f"part{j}", Type.F32) for j in range(n)]
        total = step.total(buffers, "sum")
        values = {id(b): parts[rank ^ j] for j, b in enumerate(buffers)}
        for task in step.plan.tasks:
            (node,), ((_, target, _),) = task.nodes, task.outputs
            first, second = (s.buffer for s in node.sources if isinstance(s, FromBuffer))
            assert node.op == "add"
            values[id(target)] = values[id(first)] + values[id(second)]
        found.add(values[id(total)].tobytes())
    assert len(found) == 1
