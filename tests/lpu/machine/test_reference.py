"""The reference engine: what each unit does to memory, and the fault for each law that can be broken.

Times in the programs follow from the floor plan: mem.e0 is one hop east of the VXM, the SXM is at 15, the MXM at 16; a
read is on its stream one cycle after dispatch.
"""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lpu.strategies import flow_program, perturbed, random_memory, small_chip

from takt.errors import MachineFault, UsageError
from takt.lpu.machine import Memory, ReferenceEngine

MOVE = """
    0: mem.w0 read 5 e3
    3: mem.e0 write 9 e3
"""


def test_a_word_moves_from_slice_to_slice_through_the_vxm_position(bench):
    word = bench.fill("mem.w0", 5)
    result = bench.run(MOVE)
    assert np.array_equal(bench.slice("mem.e0")[9], word[0])
    assert result.cycles == 3 + 1 + 20
    assert result.activity.sram_read_bytes == result.activity.sram_write_bytes == 320
    assert result.activity.stream_byte_hops == 2 * 320
    assert result.activity.instructions == 2


def test_a_value_that_nobody_takes_travels_to_the_edge(bench):
    east, west = bench.run("0: mem.w0 read 0 e0"), bench.run("0: mem.w0 read 0 w0")
    assert east.activity.stream_byte_hops == 17 * 320
    assert west.activity.stream_byte_hops == 15 * 320


def test_a_tapped_value_travels_on(bench):
    word = bench.fill("mem.w0", 5)
    bench.run(
        "0: mem.w0 read 5 e3\n3: mem.e0 write 9 e3+\n3: mem.e1 write 9 e3+\n4: mem.e4 write 9 e3"
    )
    for name in ("mem.e0", "mem.e1", "mem.e4"):
        assert np.array_equal(bench.slice(name)[9], word[0])


def test_a_value_taken_by_one_of_two_at_the_same_place_is_gone(bench):
    both = "0: mem.w0 read 5 e3\n3: mem.e0 write 9 e3+\n3: mem.e1 write 9 e3\n"
    bench.run(both)
    assert bench.kind(both + "4: mem.e4 write 9 e3") == ("empty stream", 4, "mem.e4")


def test_repeats_step_their_address(bench):
    words = bench.fill("mem.w0", 5, 4)
    bench.run("0: mem.w0 read 5 e3 x4 @3 +1\n3: mem.e0 write 9 e3 x4 @3 +1")
    assert np.array_equal(bench.slice("mem.e0")[9:13], words)


def test_a_read_sees_the_writes_of_earlier_cycles_only(bench):
    old, new = bench.fill("mem.e0", 40), bench.fill("mem.w0", 5)
    bench.run("""
        0: mem.w0 read 5 e3
        2: mem.e0 read 40 e4
        3: mem.e0 write 40 e3
        3: mem.e1 write 0 e4
        4: mem.e0 read 40 e4
        5: mem.e1 write 1 e4
    """)
    assert np.array_equal(bench.slice("mem.e1")[:2], np.concatenate([old, new]))


def test_readwrite_does_both_in_different_banks(bench):
    word, other = bench.fill("mem.w0", 5)[0], bench.fill("mem.e0", 7)[0]
    bench.run("0: mem.w0 read 5 e3\n3: mem.e0 readwrite 7 e4 40 e3\n4: mem.e1 write 0 e4")
    assert np.array_equal(bench.slice("mem.e0")[40], word)
    assert np.array_equal(bench.slice("mem.e1")[0], other)


def _map(bench, values):
    """Put a gather map of 20 values into words 0 and 1 of mem.w0 and mem.w1."""
    for i, name in enumerate(("mem.w0", "mem.w1")):
        bench.slice(name)[0] = np.repeat(np.array(values) >> 8 * i & 255, 16)
    return np.repeat(values, 16)


def test_gather_reads_each_superlane_at_its_own_address(bench):
    words, lane_map = bench.fill("mem.e0", 4, 40), _map(bench, bench.rng.integers(0, 40, 20))
    bench.run("""
        0: mem.w0 read 0 e2
        0: mem.w1 read 0 e3
        3: mem.e0 gather e2 e4 4
        5: mem.e1 write 9 e4
    """)
    assert np.array_equal(bench.slice("mem.e1")[9], words[lane_map, np.arange(320)])


def test_scatter_writes_each_superlane_at_its_own_address(bench):
    lane_map, word = _map(bench, bench.rng.integers(0, 40, 20)), bench.fill("mem.w2", 3)
    bench.run("""
        0: mem.w0 read 0 e2
        0: mem.w1 read 0 e3
        0: mem.w2 read 3 e4
        3: mem.e0 scatter e2 e4 4
    """)
    assert np.array_equal(bench.slice("mem.e0")[4 + lane_map, np.arange(320)], word[0])
    assert np.count_nonzero(bench.slice("mem.e0")) == np.count_nonzero(word)


@pytest.mark.parametrize("op", ["gather e2 e4 50", "scatter e2 e4 50"])
def test_an_address_from_data_outside_the_slice_faults(bench, op):
    _map(bench, [0] * 19 + [14])
    text = "0: mem.w0 read 0 e2\n0: mem.w1 read 0 e3\n0: mem.w2 read 0 e4\n"
    assert bench.kind(f"{text}3: mem.e0 {op}") == ("address range", 3, "mem.e0")


def test_vxm_operations_chain_without_memory(bench):
    x = bench.rng.standard_normal(320).astype(np.float16)
    for i, data in enumerate(x.view(np.uint8).reshape(320, 2).T):
        bench.slice(f"mem.w{i}")[0] = data
    result = bench.run("""
        0: mem.w0 read 0 e0
        0: mem.w1 read 0 e1
        2: vxm.3 mul e0.f16 #0.5 -
        5: vxm.9 add a3 a3 -
        5: vxm.8 neg a3 -
        8: vxm.0 sub a9 a8 e4.f16
        17: mem.e0 write 0 e4
        17: mem.e1 write 0 e5
    """)
    got = np.stack([bench.slice("mem.e0")[0], bench.slice("mem.e1")[0]], axis=1).copy()
    expected = (x.astype(np.float32) * np.float32(1.5)).astype(np.float16)
    assert np.array_equal(got.view(np.float16)[:, 0], expected)
    assert result.activity.vxm_lane_ops == 4 * 320


def _words(bench, count):
    """Fill word 0 of the innermost eastern slices; [count, lanes]."""
    return np.stack([bench.fill(f"mem.e{m}", 0)[0] for m in range(count)])


def _reads(count, arrival):
    """Reads of word 0 of the innermost eastern slices, slice m on stream m, that meet at the SXM at `arrival`."""
    return "".join(f"{arrival - 15 + m // 4}: mem.e{m} read 0 e{m}\n" for m in range(count))


def _writes(count, leaving, side="e", inward="w", first=0, position=15):
    """Writes to word 50 of the outermost slices of what leaves the end of a hemisphere at `leaving`."""
    return "".join(
        f"{leaving + position - 11 + m // 4}: mem.{side}{43 - m} write 50 {inward}{first + m}\n"
        for m in range(count)
    )


def _written(bench, count, side="e"):
    return np.stack([bench.slice(f"mem.{side}{43 - m}")[50] for m in range(count)])


def test_transpose_swaps_lanes_and_streams_of_each_superlane(bench):
    words = _words(bench, 16)
    result = bench.run(
        _reads(16, 18) + "18: sxm.transpose.e0 transpose e0 w16\n" + _writes(16, 22, first=16)
    )
    got = _written(bench, 16).reshape(16, 20, 16)
    assert np.array_equal(got, words.reshape(16, 20, 16).transpose(2, 1, 0))
    assert result.activity.sxm_bytes == 16 * 320


def test_rotate_gives_every_rotation_of_every_stream(bench):
    words = _words(bench, 3).reshape(3, 20, 16)
    bench.run(_reads(3, 18) + "18: sxm.rotate.e0 rotate e0 w0 3\n" + _writes(9, 20))
    got = _written(bench, 9).reshape(3, 3, 20, 16)
    for i in range(3):
        for j in range(3):
            assert np.array_equal(got[i, j], np.roll(words[i], -j, axis=-1))


def test_distribute_rearranges_and_zeroes_within_superlanes(bench):
    word = _words(bench, 1)[0].reshape(20, 16)
    bench.run(
        _reads(1, 18)
        + "18: sxm.distribute.e3 distribute e0 w0 0x8001 m3332211000ffee0f\n"
        + _writes(1, 20)
    )
    expected = word[:, [3, 3, 3, 2, 2, 1, 1, 0, 0, 0, 15, 15, 14, 14, 0, 15]].copy()
    expected[:, [0, 15]] = 0
    assert np.array_equal(_written(bench, 1)[0].reshape(20, 16), expected)


@pytest.mark.parametrize(("amount", "width"), [(7, "2"), (-7, "2"), (7, "2|wrap"), (-300, "2")])
def test_shift_moves_lanes_north(bench, amount, width):
    words = _words(bench, 2)
    bench.run(_reads(2, 18) + f"18: sxm.shift.e1 shift e0 w0 {amount} {width}\n" + _writes(2, 40))
    expected = np.roll(words, amount, axis=1)
    if "wrap" not in width:
        lanes = np.arange(320)
        expected[:, (lanes < amount) | (lanes >= 320 + amount)] = 0
    assert np.array_equal(_written(bench, 2), expected)


def test_select_chooses_lane_by_lane(bench):
    x, _, y, _, mask = _words(bench, 5)
    mask[::3] = 0
    bench.slice("mem.e4")[0] = mask
    bench.run(_reads(5, 18) + "18: sxm.select.e0 select e0 e2 e4 w0 1\n" + _writes(1, 20))
    assert np.array_equal(_written(bench, 1)[0], np.where(mask != 0, x, y))


def test_permute_moves_any_lane_anywhere_and_refuses_a_map_that_is_no_bijection(bench):
    words, order = _words(bench, 4), bench.rng.permutation(320)
    bench.slice("mem.e2")[0], bench.slice("mem.e3")[0] = order & 255, order >> 8
    text = _reads(4, 18) + "18: sxm.permute.e0 permute e0 e2 w0 2\n"
    bench.run(text + _writes(2, 40))
    assert np.array_equal(_written(bench, 2), words[:2, order])
    bench.slice("mem.e3")[0, 0] ^= 1
    assert bench.kind(text) == ("bad permute", 18, "sxm.permute.e0")


def _load(bench, plane, first):
    """Text that loads 20 × 16 random words as the weights of a west plane at 16…36, and the matrix."""
    parts, text = [], ""
    for m in range(first, first + 16):
        parts.append(bench.fill(f"mem.w{m}", 0, 20))
        text += f"{m // 4}: mem.w{m} read 0 w{m} x20 +1\n"
    text += f"16: mxm.{plane}.w lw w{first} g0 x20 +1\n36: mxm.{plane}.w iw\n"
    return text, np.stack(parts, axis=1).reshape(320, 320).T


def _emitted(bench):
    """Four streams of 32-bit results, lane by lane."""
    return np.ascontiguousarray(_written(bench, 4, "w").T)


def test_weights_stream_in_and_multiply_an_i8_vector(bench):
    load, weights = _load(bench, 0, 0)
    acts = bench.fill("mem.w32", 30)[0]
    result = bench.run(
        load
        + "29: mem.w32 read 30 w20\n37: mxm.0.a abc w20 i8\n61: mxm.0.c acc r5 e0 emit i32\n"
        + _writes(4, 63, "w", "e", position=16)
    )
    expected = acts.view(np.int8).astype(np.int64) @ weights.view(np.int8).astype(np.int64)
    assert np.array_equal(_emitted(bench).view(np.int32)[:, 0], expected)
    assert result.activity.mac_i8 == 320 * 320
    assert result.activity.weight_bytes == 320 * 320


def test_two_planes_in_tandem_multiply_an_f16_vector_and_accumulate(bench):
    (low, _), (high, _) = _load(bench, 0, 0), _load(bench, 1, 16)
    values = bench.rng.standard_normal((320, 320)).astype(np.float16).view(np.uint16)
    for group in range(20):
        for i in range(16):
            bench.slice(f"mem.w{i}")[group] = values[:, group * 16 + i] & 255
            bench.slice(f"mem.w{16 + i}")[group] = values[:, group * 16 + i] >> 8
    acts = bench.rng.standard_normal(320).astype(np.float16)
    for i, data in enumerate(acts.view(np.uint8).reshape(320, 2).T):
        bench.slice(f"mem.w{32 + i}")[30] = bench.slice(f"mem.w{32 + i}")[31] = data
    result = bench.run(
        low
        + high
        + "29: mem.w32 read 30 w0 x2 @2 +1\n29: mem.w33 read 30 w1 x2 @2 +1\n"
        + "37: mxm.0.a abc w0 f16 x2 @2\n"
        + "61: mxm.0.c acc r5 e0 keep f32\n"
        + "63: mxm.0.c acc r5 e0 add|emit f32\n"
        + _writes(4, 65, "w", "e", position=16)
    )
    exact = acts.astype(np.float64) @ values.view(np.float16).astype(np.float64)
    once = exact.astype(np.float32)
    assert np.array_equal(_emitted(bench).view(np.float32)[:, 0], once + once)
    assert result.activity.mac_f16 == 2 * 320 * 320


def test_the_buffer_keeps_columns_that_are_not_loaded_again(bench):
    load, weights = _load(bench, 0, 0)
    again = "".join(f"{40 + i // 4}: mem.w{i} read 30 w{i}\n" for i in range(16))
    new = np.stack([bench.fill(f"mem.w{i}", 30)[0] for i in range(16)], axis=1)
    acts = bench.fill("mem.w32", 30)[0]
    bench.run(
        load
        + again
        + "56: mxm.0.w lw w0 g7\n57: mxm.0.w iw\n"
        + "50: mem.w32 read 30 w20\n58: mxm.0.a abc w20 i8\n82: mxm.0.c acc r5 e0 emit i32\n"
        + _writes(4, 84, "w", "e", position=16)
    )
    expected = weights.copy()
    expected[:, 112:128] = new
    sums = acts.view(np.int8).astype(np.int64) @ expected.view(np.int8).astype(np.int64)
    assert np.array_equal(_emitted(bench).view(np.int32)[:, 0], sums)


def test_links_are_queues_of_vectors(bench):
    word = bench.fill("mem.e40", 0)[0]
    links = {2: [bytes(range(256)) + bytes(64)]}
    bench.run(
        "0: mem.e40 read 0 e0\n5: sxm.c2c.e0 send e0 link1\n0: sxm.c2c.e1 receive w0 link2\n"
        "220: mem.e40 write 1 w0",
        links=links,
    )
    assert links == {1: [word.tobytes()], 2: []}
    assert bench.slice("mem.e40")[1].tobytes() == bytes(range(256)) + bytes(64)
    assert bench.kind("0: sxm.c2c.e1 receive w0 link2") == ("link empty", 0, "sxm.c2c.e1")


# Faults

COLLISIONS = {
    "from upstream": ("0: mem.w4 read 0 e0\n1: mem.w0 read 0 e0", 2, "mem.w0"),
    "at one place": ("0: mem.w0 read 0 e0\n0: mem.w1 read 0 e0", 1, "mem.w0"),
    "of one queue": (
        "0: mem.w4 read 0 e2\n0: mem.w5 read 0 e3\n2: mem.w0 gather e2 e4 0\n3: mem.w0 read 0 e4",
        4,
        "mem.w0",
    ),
}


@pytest.mark.parametrize("name", COLLISIONS)
def test_results_that_meet_a_value_collide(bench, name):
    text, cycle, queue = COLLISIONS[name]
    assert bench.kind(text) == ("stream collision", cycle, queue)


def test_a_value_taken_in_the_cycle_of_arrival_still_collides_with_a_result(bench):
    text = "0: mem.w4 read 0 e0\n1: mem.w0 read 0 e0\n2: mem.w1 write 1 e0"
    assert bench.kind(text) == ("stream collision", 2, "mem.w0")


def test_sampling_an_empty_register_faults(bench):
    assert bench.kind(MOVE.replace("3: ", "4: ")) == ("empty stream", 4, "mem.e0")
    assert bench.kind(MOVE.replace("e3", "w3", 1)) == ("empty stream", 3, "mem.e0")


def test_an_operand_names_an_alu_that_dispatched_exactly_three_cycles_ago(bench):
    text = "0: vxm.7 mov #1.0 -\n{}: vxm.0 mov a7 -"
    bench.run(text.format(3))
    assert bench.kind(text.format(4)) == ("alu empty", 4, "vxm.0")
    assert bench.kind(text.format(2)) == ("alu empty", 2, "vxm.0")


def test_a_slice_reads_and_writes_in_different_banks_only(bench):
    same = "0: mem.w0 read 5 e3\n3: mem.e0 readwrite 7 e4 9 e3"
    assert bench.kind(same) == ("bank conflict", 3, "mem.e0")


def test_a_fetch_claims_the_read_port_of_its_slice_for_two_cycles(bench):
    for cycle in (0, 1):
        text = f"{cycle}: mem.w0 read 5 e3\n0: vxm.0 ifetch mem.w0 40"
        assert bench.kind(text) == ("bank conflict", cycle, "mem.w0")
    bench.run("2: mem.w0 read 5 e3\n0: vxm.0 ifetch mem.w0 40")
    text = "0: vxm.0 ifetch mem.w0 40\n1: vxm.1 ifetch mem.w0 10"
    assert bench.kind(text) == ("bank conflict", 1, "vxm.0")


def test_a_fetch_and_a_write_may_share_a_slice_in_different_banks(bench):
    text = "0: mem.w4 read 5 e3\n2: mem.w0 write {} e3\n1: vxm.0 ifetch mem.w0 40"
    bench.run(text.format(5))
    assert bench.kind(text.format(45)) == ("bank conflict", 2, "mem.w0")


def test_constants_are_not_written(bench):
    text = ".constant mem.e0 8 12\n0: mem.w0 read 0 e3\n3: mem.e0 write {} e3"
    bench.run(text.format(7))
    bench.run(text.format(12))
    assert bench.kind(text.format(11)) == ("constant write", 3, "mem.e0")


def test_a_scatter_may_not_hit_a_constant(bench):
    """Its addresses are data: only those it really writes count."""
    _map(bench, [0] * 19 + [3])
    text = (
        ".constant mem.e0 8 12\n0: mem.w0 read 0 e2\n0: mem.w1 read 0 e3\n0: mem.w2 read 0 e4\n"
        "3: mem.e0 scatter e2 e4 {}"
    )
    bench.run(text.format(4))
    bench.run(text.format(12))
    assert bench.kind(text.format(5)) == ("constant write", 3, "mem.e0")


def test_what_data_tells_comes_after_what_the_program_tells(bench):
    """So the checker, which knows no data, finds the same first fault."""
    _map(bench, [60] * 20)
    text = "0: mem.w0 read 0 e2\n0: mem.w1 read 0 e3\n3: mem.e0 scatter e2 e4 60"
    assert bench.kind(text) == ("empty stream", 3, "mem.e0")


def test_a_repeat_that_leaves_its_slice_faults(bench):
    text = "0: mem.w0 read 62 e0 x3 +1"
    assert bench.kind(text) == ("address range", 2, "mem.w0")


ACTS = "0: mem.w40 read 0 w0 x20\n0: mem.w41 read 0 w1 x20\n"


def test_planes_take_one_activation_at_a_time(bench):
    bench.run(ACTS + "6: mxm.0.a abc w0+ i8 x5\n6: mxm.1.a abc w0 i8 x5")
    bench.run(ACTS + "6: mxm.0.a abc w0 f16 x5 @2")
    assert bench.kind(ACTS + "6: mxm.0.a abc w0 f16 x2") == ("mxm busy", 7, "mxm.0.a")
    tandem = ACTS + "6: mxm.0.a abc w0+ f16\n{}: mxm.1.a abc w0 i8"
    assert bench.kind(tandem.format(6)) == ("mxm busy", 6, "mxm.0.a")
    assert bench.kind(tandem.format(7)) == ("mxm busy", 7, "mxm.1.a")
    bench.run(tandem.format(8))


def test_acc_takes_a_result_of_its_own_plane_cycle_and_type(bench):
    text = ACTS + "6: mxm.0.a abc w0 i8\n{}: mxm.{}.c acc r0 e0 keep {}"
    bench.run(text.format(30, 0, "i32"))
    assert bench.kind(text.format(31, 0, "i32")) == ("mxm result missing", 31, "mxm.0.c")
    assert bench.kind(text.format(30, 1, "i32")) == ("mxm result missing", 30, "mxm.1.c")
    assert bench.kind(text.format(30, 0, "f32")) == ("mxm type", 30, "mxm.0.c")


def test_a_bad_operand_faults_when_it_is_dispatched_and_not_before(bench):
    bad = "5: mem.w0 read 0 e0+"
    assert bench.kind(bad) == ("bad operand", 5, "mem.w0")
    assert bench.kind(bad + "\n4: mem.w1 write 0 e0") == ("empty stream", 4, "mem.w1")


def test_a_queue_issues_one_instruction_after_another(bench):
    text = "0: mem.w0 read 0 e0 x3 @4\n{}: mem.w0 read 0 e1"
    bench.run(text.format(9))
    assert bench.kind(text.format(5)) == ("queue order", 5, "mem.w0")
    assert bench.kind(text.format(8)) == ("queue order", 8, "mem.w0")


def test_a_parked_queue_waits_for_the_barrier(bench):
    text = "2: mem.w0 sync\n{notify}: vxm.0 notify\n{next}: mem.w0 read 0 e0"
    bench.run(text.format(notify=2, next=37))
    bench.run(text.format(notify=9, next=44))
    assert bench.kind(text.format(notify=9, next=43)) == ("queue order", 43, "mem.w0")
    assert bench.kind(text.format(notify=1, next=99)) == ("queue order", 2, "mem.w0")


def test_deskew_waits_for_the_next_epoch(bench):
    text = "{}: sxm.c2c.e0 deskew\n{}: sxm.c2c.e0 config 0x0fffff"
    bench.run(text.format(3, 256))
    bench.run(text.format(256, 257))
    assert bench.kind(text.format(3, 255)) == ("queue order", 255, "sxm.c2c.e0")
    assert bench.kind(text.format(257, 511)) == ("queue order", 511, "sxm.c2c.e0")


# Instruction supply


def _tiny_supply(bench):
    """Buffers of four words, fetches of three that take five cycles."""
    names = [field.name for field in fields(bench.chip.icu)]
    depth = next(name for name in names if name.startswith("queue_depth"))
    facts = {depth: 4, "fetch_bytes": 48, "fetch_latency_cycles": 5}
    return bench.with_facts("icu", **facts)


def test_words_that_have_not_arrived_cannot_be_issued(bench):
    small = _tiny_supply(bench)
    moves = "".join(f"{t}: vxm.0 mov #1.0 -\n" for t in range(4))
    small.run(moves)
    assert small.kind(moves + "4: vxm.0 mov #1.0 -") == ("instruction supply", 4, "vxm.0")


def test_a_wait_and_a_repeat_are_words_too(bench):
    small = _tiny_supply(bench)
    text = "0: vxm.0 mov #1.0 - x3\n{}: vxm.0 mov #1.0 - x3"
    small.run(text.format(3))
    assert small.kind(text.format(4)) == ("instruction supply", 6, "vxm.0")


def test_a_fetch_brings_words_in_time_or_not(bench):
    small = _tiny_supply(bench)
    text = "0: vxm.0 ifetch mem.w0 0\n1: vxm.0 mov #1.0 - x3\n{}: vxm.0 mov #1.0 -\n"
    small.run(text.format(5))
    late = text.format(4) + "5: vxm.0 mov #1.0 -"
    small.run(late)
    early = "0: vxm.0 ifetch mem.w0 0\n" + "".join(f"{t}: vxm.0 mov #1.0 -\n" for t in range(1, 6))
    assert small.kind(early) == ("instruction supply", 4, "vxm.0")


def test_a_fetch_that_finds_no_room_overflows(bench):
    small = _tiny_supply(bench)
    waits = "0: vxm.0 ifetch mem.w0 0\n" + "".join(
        f"{20 + t}: vxm.0 mov #1.0 -\n" for t in range(6)
    )
    assert small.kind(waits) == ("queue overflow", 5, "vxm.0")


# The engine itself


def test_a_fault_shows_the_ten_instructions_around_it(bench):
    reads = "".join(f"{t}: mem.w0 read {t} e0\n" for t in range(20))
    fault = bench.fault(reads + "10: mem.w4 write 0 w9")
    assert (fault.cycle, fault.queue, fault.instruction) == (10, "mem.w4", "write 0 w9")
    assert len(fault.neighbourhood) == 11
    marked = [line for line in fault.neighbourhood if line.startswith("> ")]
    assert marked == ["> 10: mem.w4 write 0 w9"]


def test_the_first_fault_is_the_one_of_the_lowest_queue_in_the_earliest_cycle(bench):
    text = "4: mem.e3 write 0 e0\n4: mem.w3 write 0 e0\n3: vxm.2 mov a0 -\n5: mem.w1 write 0 e0"
    assert bench.kind(text) == ("alu empty", 3, "vxm.2")
    assert bench.kind(text.replace("3: vxm.2", "4: vxm.2")) == ("empty stream", 4, "mem.w3")


def test_a_faulty_cycle_changes_no_memory(bench):
    bench.fill("mem.w0", 0)
    before = bench.memory.data.copy()
    bench.fault("0: mem.w0 read 0 e0\n3: mem.e0 write 0 e0\n3: mem.e20 write 0 e0")
    assert np.array_equal(bench.memory.data, before)


def test_an_empty_program_takes_no_time(bench):
    assert bench.run("").cycles == 0


def test_a_program_for_another_chip_is_refused(bench, chip):
    engine = ReferenceEngine(replace(chip, id="other"), Memory(bench.chip))
    with pytest.raises(UsageError, match="other"):
        engine.run(bench.program(MOVE))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**31), st.integers(0, 2))
def test_the_order_in_which_units_are_heard_changes_nothing(seed, n_changes):
    """Neither the result nor memory, nor the fault of a program that has been broken a little."""
    small = small_chip()
    program = perturbed(flow_program(small, seed, 4, links=True), small, seed, n_changes)
    outcomes = []
    for shuffle in (None, Random(seed), Random(seed + 1)):
        memory = random_memory(small, seed)
        links = {link: [bytes([link]) * 320] * 9 for link in range(small.c2c.links)}
        try:
            result = ReferenceEngine(small, memory, shuffle=shuffle).run(program, links=links)
            outcomes.append((result, links, memory.data.tobytes()))
        except MachineFault as fault:
            outcomes.append((str(fault), links, memory.data.tobytes()))
    assert outcomes[0] == outcomes[1] == outcomes[2]
