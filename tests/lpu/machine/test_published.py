"""Published figures of the 2020 chip, each measured by running a real program on the full-size machine.

Sources and marks are in the chip's facts: Abts et al., ISCA 2020, for bandwidths, barrier, weight load, stagger and nop;
the 50-cycle path is one user's public accounting of compiled programs.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine import Memory, ReferenceEngine

SIDES = ("w", "e")
HALF = 4096  # words of a bank


def test_sram_moves_56_320_bytes_a_cycle(full):
    """All 88 slices read a word and write one every cycle: each copies its low bank into its high bank."""
    n = 16
    lines = []
    for side in SIDES:
        for m in range(44):
            full.fill(f"mem.{side}{m}", 0, n + 1)
            lines += [
                f"0: mem.{side}{m} read 0 {side}{m % 4}",
                f"1: mem.{side}{m} readwrite 1 {side}{m % 4} {HALF} {side}{m % 4} x{n} +1",
            ]
    result = full.run("\n".join(lines))
    words = full.memory.data[:, :n]
    assert np.array_equal(full.memory.data[:, HALF : HALF + n], words)
    moved = result.activity.sram_read_bytes + result.activity.sram_write_bytes
    first_reads = 88 * 320
    assert (moved - first_reads) / n == 56_320
    assert full.chip.sram_bytes_per_cycle == 56_320


def test_streams_carry_20_480_bytes_a_cycle_past_one_cut(full):
    """At x = 0 the 16 ALUs take all 64 streams every cycle, and send everything back the way it came."""
    n = 8  # as many as the VXM has cycles of latency: then its results find the registers free again
    lines, words = [], {}
    for side, stream, back in (("w", "e", "w"), ("e", "w", "e")):
        for m in range(32):
            words[side, m] = full.fill(f"mem.{side}{m}", 0, n)
            hops = 1 + m // 4
            lines.append(f"{8 - hops}: mem.{side}{m} read 0 {stream}{m} x{n} +1")
            lines.append(f"{17 + hops}: mem.{side}{m} write {HALF} {back}{m} x{n} +1")
    for k in range(8):
        lines.append(f"9: vxm.{k} mov e{4 * k}.i32 w{4 * k}.i32 x{n}")
        lines.append(f"9: vxm.{8 + k} mov w{4 * k}.i32 e{4 * k}.i32 x{n}")
    result = full.run("\n".join(lines))
    assert result.activity.vxm_lane_ops == 16 * 320 * n
    for (side, m), data in words.items():
        assert np.array_equal(full.slice(f"mem.{side}{m}")[HALF : HALF + n], data)
    taken = 16 * 4 * 320  # sixteen operands of four streams, all in each of the n cycles
    assert taken == full.chip.stream_bytes_per_cycle == 20_480


def test_a_barrier_takes_35_cycles_from_notify_to_release(full):
    """All other 143 queues park; the first cycle in which they may go on is 35 after the notify, for all of them."""
    names = [name for name in full.number if name != "vxm.0"]
    parked = "".join(f"{i % 3}: {name} sync\n" for i, name in enumerate(names))
    text = (
        parked + "5: vxm.0 notify\n" + "".join(f"{{}}: {name} config 0xfffff\n" for name in names)
    )
    assert len(full.number) == 144
    full.run(text.replace("{}", str(5 + 35)))
    assert full.kind(text.replace("{}", str(5 + 34))) == ("queue order", 39, "mem.w0")


def _load_all_weights(bench):
    """64 slices stream 20 words each into the four planes; (text, cycle of the install, weights [4, 320, 320])."""
    lines, weights = [], []
    for plane in range(4):
        side, parts = SIDES[plane // 2], []
        for i in range(16):
            stream = 16 * (plane % 2) + i
            m = 12 + stream  # the 32 outermost slices
            parts.append(bench.fill(f"mem.{side}{m}", 0, 20))
            lines.append(f"{m // 4 - 3}: mem.{side}{m} read 0 {side}{stream} x20 +1")
        weights.append(np.stack(parts, axis=1).reshape(320, 320).T)
        lines += [
            f"13: mxm.{plane}.w lw {side}{16 * (plane % 2)} g0 x20 +1",
            f"33: mxm.{plane}.w iw",
        ]
    return "\n".join(lines) + "\n", np.stack(weights)


def test_all_weights_are_in_the_arrays_in_less_than_40_cycles(full):
    """From SRAM, read and transit included: 409,600 bytes. Then every plane multiplies with what it got."""
    load, weights = _load_all_weights(full)
    alone = full.run(load)
    assert alone.cycles - full.chip.stagger_cycles < 40
    assert alone.activity.weight_bytes == 409_600 == weights.size
    lines, acts = [], {}
    for side in SIDES:
        acts[side] = full.fill(f"mem.{side}0", 100)[0]
        lines.append(f"18: mem.{side}0 read 100 {side}0")
    inward = {"w": "e", "e": "w"}
    for plane in range(4):
        side, tap = SIDES[plane // 2], "+" if plane % 2 == 0 else ""
        lines.append(f"34: mxm.{plane}.a abc {side}0{tap} i8")
        stream = 4 * (plane % 2)
        lines.append(f"58: mxm.{plane}.c acc r0 {inward[side]}{stream} emit i32")
        for i in range(4):
            m = 40 + i if plane % 2 == 0 else 36 + i
            hops = 16 - 1 - m // 4
            lines.append(
                f"{60 + hops}: mem.{side}{m} write {200 + plane} {inward[side]}{stream + i}"
            )
    full.run(load + "\n".join(lines))
    for plane in range(4):
        side = SIDES[plane // 2]
        first = 40 if plane % 2 == 0 else 36
        raw = np.stack(
            [full.slice(f"mem.{side}{first + i}")[200 + plane] for i in range(4)], axis=1
        )
        sums = np.ascontiguousarray(raw).view(np.int32)[:, 0]
        expected = acts[side].view(np.int8).astype(np.int64) @ weights[plane].view(np.int8).astype(
            np.int64
        )
        assert np.array_equal(sums, expected)


def test_an_instruction_is_staggered_over_20_cycles(full):
    assert full.run("0: vxm.0 config 0xfffff").cycles == 1 + 20


def test_the_path_from_sxm_to_vxm_and_back_takes_50_cycles(full):
    """Transposer 4, 15 hops, entry 5, a chain of three ALUs 9, 15 hops, distributor 2."""
    start = 18
    words = np.stack([full.fill(f"mem.e{m}", 0)[0] for m in range(16)])
    lines = [f"{start - 15 + m // 4}: mem.e{m} read 0 e{m}" for m in range(16)]
    path = [
        (0, "sxm.transpose.e0 transpose e0 w0"),
        (4 + 15, "vxm.0 addi w0.u8 #i1 -"),
        (4 + 15 + 3, "vxm.1 addi a0.i32 #i1 -"),
        (4 + 15 + 6, "vxm.2 muli a1.i32 #i3 e20.u8"),
        (4 + 15 + 5 + 9 + 15, "sxm.distribute.e0 distribute e20 w20 0 m0123456789abcdef"),
    ]
    lines += [f"{start + time}: {instruction}" for time, instruction in path]
    result = full.run("\n".join(lines))
    assert result.cycles - full.chip.stagger_cycles - start == 50
    full.run("\n".join([*lines, f"{start + 50 + 4}: mem.e40 write 1 w20"]))
    stream_0 = words.reshape(16, 20, 16)[:, :, 0].T.reshape(320).astype(np.int64)
    assert np.array_equal(full.slice("mem.e40")[1], np.minimum((stream_0 + 2) * 3, 255))


def test_one_nop_waits_up_to_65_536_cycles(full):
    """With a buffer of two words and no fetch, a queue can wait 65,536 cycles before an instruction, not one more."""
    depth = next(f.name for f in fields(full.chip.icu) if f.name.startswith("queue_depth"))
    two_words = full.with_facts("icu", **{depth: 2})
    assert two_words.run("65536: vxm.0 config 0xfffff").cycles == 65_536 + 1 + 20
    assert two_words.kind("65537: vxm.0 config 0xfffff") == ("instruction supply", 65_537, "vxm.0")


@pytest.mark.parametrize(
    ("clock_hz", "tops"), [(900_000_000, 737.28), (1_000_000_000, 819.2), (1_250_000_000, 1024)]
)
def test_peak_int8_at_each_clock(full, clock_hz, tops):
    chip = replace(full.chip, core=replace(full.chip.core, clock_hz=clock_hz))
    n = 8
    macs = _peak(chip, full, n, "i8", range(4), 1).mac_i8
    assert 2 * macs / n * clock_hz == pytest.approx(tops * 1e12)
    assert chip.int8_ops_per_s == pytest.approx(tops * 1e12)


def test_peak_fp16_is_a_quarter(full):
    n = 8
    macs = _peak(full.chip, full, n, "f16", (0, 2), 2).mac_f16
    assert macs / (2 * n) == 102_400
    assert 2 * macs / (2 * n) * 1_000_000_000 == pytest.approx(204.8e12)


def _peak(chip, bench, n, type_, planes, interval):
    """Activity of n activation vectors on each of the planes, as close together as the machine allows."""
    lines = []
    for side in SIDES:
        for i in range(2):
            lines.append(f"0: mem.{side}{40 + i} read {i} {side}{i} x{n} @{interval}")
    for plane in planes:
        tap = "+" if type_ == "i8" and plane % 2 == 0 else ""
        lines.append(f"6: mxm.{plane}.a abc {SIDES[plane // 2]}0{tap} {type_} x{n} @{interval}")
    return ReferenceEngine(chip, Memory(chip)).run(bench.program("\n".join(lines))).activity


def test_the_instruction_list_of_the_paper_is_there():
    published = "nop repeat ifetch sync notify config read write gather scatter exp rsqrt tanh relu lw iw abc acc"
    published += " shift select permute distribute rotate transpose deskew send receive"
    assert set(published.split()) <= set(BY_NAME)
