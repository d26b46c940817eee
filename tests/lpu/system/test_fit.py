"""What fits: counts that are found without scheduling hold when everything is compiled, and one less does not."""

import pytest

from takt.chips import System, load_system
from takt.errors import CapacityError, UnsupportedError
from takt.lpu.system import (
    SystemCompiled,
    compile_system,
    draft_beside,
    fewest_chips,
    most_users,
    require_supported,
    summarise_system,
)
from takt.lpu.system.fit import longest_context
from takt.models import SHAPES, ModelShape, shape_of


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Eight chips with a ninth of the memory, so that a small model does not fit on one."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "chip.toml").write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 2000\n')
    path = folder / "node.toml"
    path.write_text('base = "groqnode-v1"\nchip = "chip.toml"\n')
    return load_system(path)


@pytest.fixture(scope="module")
def shape() -> ModelShape:
    return shape_of("stories15m")


@pytest.fixture(scope="module")
def compiled(shape: ModelShape, system: System) -> SystemCompiled:
    return compile_system(shape, system, n_chips=4, context=256, group=1)


def test_the_fewest_chips_hold_the_model_and_one_less_does_not(
    shape: ModelShape, system: System
) -> None:
    ((group, chips),) = fewest_chips(shape, system, context=256, group=1)
    assert group == 1 and chips > 1
    made = compile_system(shape, system, n_chips=chips, context=256, group=1)
    assert len(made.stages) == chips
    with pytest.raises(CapacityError):
        compile_system(shape, system, n_chips=chips - 1, context=256, group=1)


def test_sizes_are_sorted_by_chips(shape: ModelShape, system: System) -> None:
    found = fewest_chips(shape, system, context=256)
    assert found == tuple(sorted(found, key=lambda pair: (pair[1], -pair[0])))
    assert all(chips % group == 0 for group, chips in found)


def test_as_many_users_fit_as_it_says_and_no_more(
    shape: ModelShape, system: System, compiled: SystemCompiled
) -> None:
    most = most_users(compiled)
    assert most is not None and most > 1
    full = compile_system(shape, system, n_chips=4, context=256, group=1, users=most)
    assert full.users == most_users(full) == most
    with pytest.raises(CapacityError):
        compile_system(shape, system, n_chips=4, context=256, group=1, users=most + 1)


def test_the_longest_context_is_the_models_where_memory_is_no_limit(
    compiled: SystemCompiled, shape: ModelShape
) -> None:
    assert longest_context(compiled) == shape.max_context


def test_the_summary_adds_up(compiled: SystemCompiled) -> None:
    made = summarise_system(compiled)
    on_the_way = sum(kind.cycles for kind in made.visits)
    assert on_the_way + made.gap_cycles == made.step_cycles == compiled.step_cycles
    for kind in made.visits:
        assert sum(count for *_, count in kind.programs) == kind.count
        assert sum(c * n for c, _, _, n in kind.programs) == kind.cycles
        assert sum(b * n for _, b, _, n in kind.programs) == kind.bound_cycles
    assert sum(kind.bound_cycles for kind in made.visits) == made.bound_cycles
    idle = made.chips * compiled.cut.chip.energy.idle_w / made.tokens_per_s_total
    assert made.energy.idle_j == pytest.approx(idle)
    assert made.energy.link_j > 0
    assert 1 / made.tokens_per_s_user_with_host >= made.step_s + made.host_s - 1e-12
    assert made.chips_used + draft_beside(compiled) == made.chips


def test_every_assumption_is_an_assumed_fact(compiled: SystemCompiled) -> None:
    made = summarise_system(compiled)
    assert {fact.kind for fact in made.assumptions} == {"assumed"}
    keys = {fact.key for fact in made.assumptions}
    assert {"energy.idle_w", "mxm.activation_to_result_cycles", "node.extra_ns"} <= keys


@pytest.mark.parametrize("name", ["llama-4-scout"])
def test_a_shape_beyond_what_is_scheduled_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name):
        require_supported(SHAPES[name])
