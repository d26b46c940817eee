"""Other chips than the catalogue's: slower units, other distances, more memory; every program is proved again."""

from collections.abc import Callable

import numpy as np
import pytest

from takt.chips import Chip
from takt.errors import CapacityError
from takt.lpu import Session, compile_model
from takt.models import random_model

from .conftest import ids_of, prompt_logits, small_shape, step_logits

VARIANTS = {
    "slower ALUs": "[vxm]\nalu_cycles = 4\nentry_cycles = 7",
    "slower distributors": "[sxm]\ndistribute_cycles = 3",
    "slower shifts": "[sxm]\nshift_cycles = 25\nselect_cycles = 3\npermute_cycles = 30",
    "longer ways": "[layout]\nio_crossing_hops = 6\nsxm_to_mxm_hops = 2",
    "slower memory": "[mem]\nread_cycles = 3\ngather_extra_cycles = 2",
    "deeper planes": "[mxm]\nactivation_to_result_cycles = 45\nresult_to_stream_cycles = 4\ninstall_cycles = 9",
    "eight ALUs": "[vxm]\nalus = 8",
}
SLOWER = {"longer ways", "slower memory", "deeper planes"}
"""What every step waits for, whatever the schedule."""


@pytest.mark.parametrize("which", VARIANTS)
def test_a_changed_chip_gives_the_same_bits_in_proved_time(
    which: str, chip: Chip, variant: Callable[[str], Chip]
) -> None:
    model, ids = random_model(small_shape(n_layers=1, windows=(None,))), ids_of(97, 12)
    usual, changed = (Session(compile_model(model, c)) for c in (chip, variant(VARIANTS[which])))
    assert np.array_equal(step_logits(changed, ids), step_logits(usual, ids))
    if which in SLOWER:
        assert changed.compiled.decode(0).program.cycles > usual.compiled.decode(0).program.cycles
    usual.reset()
    changed.reset()
    assert np.array_equal(prompt_logits(changed, ids, 1), prompt_logits(usual, ids, 1))


def test_the_reference_engine_agrees_on_a_changed_chip(variant: Callable[[str], Chip]) -> None:
    chip = variant(VARIANTS["slower ALUs"] + "\n" + VARIANTS["longer ways"])
    model = random_model(small_shape(n_layers=1, windows=(None,)))
    compiled = compile_model(model, chip)
    a, b = Session(compiled, engine="reference").step(3), Session(compiled, engine="fast").step(3)
    assert a.logits.tobytes() == b.logits.tobytes()
    assert a.cycles == b.cycles == a.step.program.cycles


@pytest.mark.slow
def test_twice_the_memory_takes_a_model_that_did_not_fit(
    chip: Chip, variant: Callable[[str], Chip]
) -> None:
    shape = small_shape(
        dim=1600, n_heads=25, n_kv_heads=5, head_dim=64, hidden_dim=6400, n_layers=4
    )
    with pytest.raises(CapacityError, match="no room in SRAM"):
        compile_model(random_model(shape), chip, weights="fp16")
    wide = variant("[mem]\nwords_per_slice = 16384")
    step = compile_model(random_model(shape), wide, weights="fp16").decode(0)
    assert step.program.cycles >= step.bound.cycles > 0
    slices = 2 * chip.mem.slices_per_hemisphere
    assert step.sram_bytes < slices * wide.mem.words_per_slice * wide.lanes
