"""What programs over many rows rest on: packs of heads, runs of rows, accumulator entries, lazy claims, task order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import Chip
from takt.lpu import compile_model
from takt.lpu.compiler.encode import Encode
from takt.lpu.compiler.feeds import _Entries
from takt.lpu.compiler.geometry import geometry
from takt.lpu.compiler.image import fetch, new_image, store
from takt.lpu.compiler.ir import Accumulator, Buffer, FromBuffer, Task, Tile
from takt.lpu.compiler.lanes import head_lanes
from takt.lpu.compiler.packs import place_packs
from takt.lpu.compiler.ready import Ready
from takt.lpu.compiler.timeline import Timeline, Undo
from takt.lpu.isa.table import Type
from takt.lpu.machine import Memory
from takt.models import random_model

from .test_encoders import encoder_shape


@pytest.mark.parametrize(("heads", "dim", "span"), [(12, 768, 128), (5, 320, 96), (3, 96, 320)])
def test_every_head_has_a_slot_and_every_position_a_lane_of_it(
    heads: int, dim: int, span: int, chip: Chip
) -> None:
    shape = encoder_shape(span, dim=dim, n_heads=heads, hidden_dim=dim)
    image = new_image(geometry(chip), 64)
    lanes = head_lanes(shape, chip.lanes, even=True)
    packs = place_packs(image, lanes, heads, shape.head_dim, span)
    slots = [(p.vector, p.first + i) for p in packs.all() for i in range(p.n_heads)]
    assert len(slots) == len(set(slots)) == heads
    for pack in packs.all():
        assert pack.n_heads * span <= chip.lanes
    for slot in range(chip.lanes // span):
        here = packs.position[slot * span : (slot + 1) * span]
        assert sorted(here.tolist()) == list(range(span))


def test_a_key_row_lies_in_the_column_that_its_position_is_said_to_have(chip: Chip) -> None:
    shape = encoder_shape(128, dim=256, n_heads=4, hidden_dim=256)
    image = new_image(geometry(chip), 64)
    packs = place_packs(image, head_lanes(shape, chip.lanes, even=True), 4, 64, 128)
    keys = packs.keys[0, 0]
    for row in range(keys.rows):
        slice_, word = keys.location(0, row)
        column = 16 * (word - keys.bases[0]) + keys.slices[0].index(slice_)
        slot, position = divmod(row, 128)
        assert (column // 128, packs.position[column]) == (slot, position)


@given(run=st.integers(0, 5), k=st.integers(1, 6), rows=st.integers(1, 70))
def test_rows_of_a_buffer_have_words_of_their_own(run: int, k: int, rows: int) -> None:
    buffer = Buffer("b", Type.I8, rows, slices=(tuple(range(k)),), bases=(3,), run=run)
    places = {buffer.location(0, row) for row in range(rows)}
    assert len(places) == rows
    assert min(word for _, word in places) == 3


def test_what_is_stored_in_runs_is_fetched_again(chip: Chip) -> None:
    image = new_image(geometry(chip), 64)
    buffer = image.cache("c", 48, 0, 3, 1)
    rows = np.arange(48 * chip.lanes).reshape(48, -1).astype(np.float16)
    memory = Memory(chip)
    store(memory, buffer, rows)
    assert np.array_equal(fetch(memory, buffer), rows)


@given(
    groups=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 300), st.integers(0, 60), st.booleans()),
        max_size=30,
    )
)
def test_accumulators_in_use_at_the_same_time_share_no_entry(
    groups: list[tuple[int, int, int, bool]],
) -> None:
    entries = _Entries(100)
    live: list[tuple[Accumulator, int]] = []
    for rows, start, length, finished in groups:
        group = Accumulator(rows)
        if entries.find(rows, start) is None:
            continue
        group.entry = entries.take(group, start)
        group.end_time, group.finished = start + length, finished
        assert 0 <= group.entry <= 100 - rows
        for other, _ in live:
            apart = other.entry + other.rows <= group.entry or group.entry + rows <= other.entry
            assert apart or (other.finished and other.end_time < start)
        live = [(o, s) for o, s in live if not (o.finished and o.end_time < start)] + [
            (group, start)
        ]


@given(
    tries=st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 255)), max_size=5
            ),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_lazy_claims_are_granted_and_kept_like_eager_ones(
    tries: list[tuple[list[tuple[int, int, int]], bool]],
) -> None:
    eager, lazy = ([Timeline() for _ in range(3)] for _ in range(2))
    for claims, keep in tries:
        one, other = Undo(), Undo(lazy=True)
        for line, time, mask in claims:
            assert one.take(eager[line], time, mask) == other.take(lazy[line], time, mask)
            assert one.rigid == other.rigid
        if keep:
            other.keep()
        else:
            one.rollback()
            other.rollback()
        assert [t.bits for t in eager] == [t.bits for t in lazy]
        assert all(t.wanted == 0 for t in lazy)


def chain_of_tasks() -> list[Task]:
    """Two independent chains, each of a task without a feed and two that feed one accumulator."""
    tasks = []
    tile = Tile("t", Type.I8, 0, 1)
    for name in ("a", "b"):
        raw, made = Buffer(name, Type.I8, fixed=True), Buffer(f"{name}.made", Type.I8)
        group = Accumulator(1)
        first, one, two = (Task(f"{name}{i}", 0) for i in range(3))
        first.out(first.op("mov", FromBuffer(raw)), made)
        one.feed(tile, made, group, last=False)
        two.feed(tile, made, group, add=True)
        tasks += [first, one, two]
    return tasks


def test_tasks_are_taken_after_those_they_wait_for_and_the_earliest_first() -> None:
    when = {"a1": 500, "a2": 600, "b1": 100, "b2": 200}
    ready = Ready(chain_of_tasks())
    taken = []
    while (task := ready.take(lambda t: when[t.label], lambda t, _: when[t.label])) is not None:
        taken.append(task.label)
    assert taken == ["a0", "b0", "b1", "b2", "a1", "a2"]


def test_of_tasks_that_could_start_together_one_that_fits_goes_first() -> None:
    ready = Ready(chain_of_tasks())
    fits = {"a1": 900, "a2": 950, "b1": 10, "b2": 60}
    taken = []
    while (task := ready.take(lambda _: 0, lambda t, _: fits[t.label])) is not None:
        taken.append(task.label)
    assert taken == ["a0", "b0", "b1", "b2", "a1", "a2"]


def test_blocks_cover_the_rows_in_order(chip: Chip) -> None:
    shape = encoder_shape(176, dim=64, n_heads=2, hidden_dim=96, n_layers=1)
    blocks = Encode(compile_model(random_model(shape), chip).layout).blocks
    assert blocks[0][0] == 0
    assert all(a + n == b for (a, n), (b, _) in pairwise(blocks))
    assert sum(n for _, n in blocks) == 176
    assert all(n <= 64 and n % 16 == 0 for _, n in blocks)
