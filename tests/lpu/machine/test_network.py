"""Several chips by hand: what a wire does when, every fault of links, moved words, and exchanges of a full-size node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from takt.chips import Chip, Wire, load_chip, load_system
from takt.errors import MachineFault, ProgramError, UsageError
from takt.lpu.fast import FastSystem
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.program import Program, make_program, queues
from takt.lpu.machine import (
    Instance,
    Memory,
    Move,
    ReferenceSystem,
    SystemProgram,
    program_cycles,
    prove_system,
)
from takt.lpu.machine.lockstep import SystemResult
from takt.lpu.machine.network import relocated

FULL = load_chip("lpu-v1")
CHIP = replace(FULL, mem=replace(FULL.mem, words_per_slice=64))
NAMES = {queue.name: queue.number for queue in queues(FULL)}
SENT = 5  # `mem.e40` reads in cycle 0, `sxm.c2c.e0` sends in cycle 5
LINK = FULL.c2c.link_cycles
EPOCH = FULL.c2c.epoch_cycles


def program(text: str, chip: Chip = CHIP, constant: Sequence[tuple[int, int, int]] = ()) -> Program:
    made = parse_program(f".chip {chip.id}\n{text}", chip)
    return replace(made, constant=np.array(constant, np.int64).reshape(-1, 3))


def wire(extra_cycles: int = 0) -> Wire:
    """From link 0 of chip 0 to link 1 of chip 1."""
    return Wire(
        source_chip=0, source_link=0, target_chip=1, target_link=1, extra_cycles=extra_cycles
    )


def pair(*texts: str, extra_cycles: int = 0, chip: Chip = CHIP, **second: Any) -> SystemProgram:
    """A program for each of two chips, joined by `wire`; the instance on the second with some other fields."""
    instances = [Instance(chip=n, program=n, start_cycle=0) for n in range(len(texts))]
    return SystemProgram(
        chip=chip,
        programs=tuple(program(text, chip) for text in texts),
        instances=(instances[0], *(replace(i, **second) for i in instances[1:])),
        wires=(wire(extra_cycles),),
    )


def send(link: int = 0, *times: int) -> str:
    """Words of `mem.e40` sent from these cycles on."""
    return "\n".join(
        f"{t - SENT}: mem.e40 read {n} e0\n{t}: sxm.c2c.e0 send e0 link{link}"
        for n, t in enumerate(times or (SENT,))
    )


def receive(*times: int, link: int = 1) -> str:
    """Vectors received in these cycles, written into words 10, 11, … of `mem.e40`."""
    return "\n".join(
        f"{t}: sxm.c2c.e1 receive w0 link{link}\n{t + LINK + 4}: mem.e40 write {10 + n} w0"
        for n, t in enumerate(times)
    )


def memories(system: SystemProgram, seed: int = 0) -> list[Memory]:
    """Random bytes in the first 64 words of the slices that these tests use."""
    rng = np.random.default_rng(seed)
    made = [Memory(system.chip) for _ in range(system.n_chips)]
    for memory in made:
        for name in ("mem.e40", "mem.e41", "mem.e43"):
            memory.data[NAMES[name], :64] = rng.integers(0, 256, (64, 320), np.uint8)
    return made


def run(system: SystemProgram, seed: int = 0) -> list[Memory]:
    """All three agree; the memories afterwards."""
    report = prove_system(system)
    stepped, quick = memories(system, seed), memories(system, seed)
    result = ReferenceSystem(system.chip, stepped).run(system)
    assert result == SystemResult(cycles=report.cycles, activity=report.activity)
    fast = FastSystem(system.chip, quick)
    assert fast.run(fast.prepare(system)) == result
    for one, other in zip(stepped, quick, strict=True):
        for slice_ in range(one.data.shape[0]):
            assert np.array_equal(one.data[slice_, :64], other.data[slice_, :64])
    return stepped


def fault(system: SystemProgram) -> tuple[str, int | None, str | None]:
    """(kind, cycle, queue) of the fault, on which proof and steps agree."""
    with pytest.raises(MachineFault) as proved:
        prove_system(system)
    with pytest.raises(MachineFault) as stepped:
        ReferenceSystem(system.chip, memories(system)).run(system)
    error = stepped.value
    for name in ("cycle", "queue", "instruction", "neighbourhood"):
        assert getattr(proved.value, name) == getattr(error, name)
    return error.message.split(":")[0], error.cycle, error.queue


def words(memory: Memory, name: str = "mem.e40") -> np.ndarray:
    return memory.data[NAMES[name]]


# What a wire does


@pytest.mark.parametrize("extra", [0, 1, 30])
def test_a_vector_can_be_received_one_cycle_and_the_wires_delay_after_it_was_sent(
    extra: int,
) -> None:
    on_time = pair(send(), receive(SENT + 1 + extra), extra_cycles=extra)
    first, second = run(on_time)
    assert np.array_equal(words(second)[10], words(first)[0])
    early = pair(send(), receive(SENT + extra), extra_cycles=extra)
    assert fault(early) == ("link empty", SENT + extra, "sxm.c2c.e1 of chip 1")


def test_vectors_on_a_wire_keep_their_order() -> None:
    sent = [SENT + n * CHIP.c2c_vector_cycles for n in range(3)]
    system = pair(send(0, *sent), receive(*(300 + n for n in range(3))))
    first, second = run(system)
    assert np.array_equal(words(second)[10:13], words(first)[:3])
    transfers = prove_system(system).transfers
    assert transfers.sent_cycle.tolist() == sent
    assert transfers.received_cycle.tolist() == [300, 301, 302]
    assert (transfers.source.tolist(), transfers.target.tolist()) == ([0] * 3, [1] * 3)


def test_what_goes_over_links_is_counted_and_the_cycles_are_those_of_the_last_chip() -> None:
    system = pair(send(), receive(40), start_cycle=3 * EPOCH)
    report = prove_system(system)
    assert report.cycles == 3 * EPOCH + program_cycles(system.programs[1], CHIP)
    assert report.activity.link_bytes == 320
    assert report.activity.instructions == 4


def test_a_wire_may_lead_back_to_its_own_chip() -> None:
    back = Wire(source_chip=0, source_link=0, target_chip=0, target_link=1, extra_cycles=3)
    both = program(f"{send()}\n{receive(SENT + 4)}")
    system = SystemProgram(
        chip=CHIP,
        programs=(both,),
        instances=(Instance(chip=0, program=0, start_cycle=0),),
        wires=(back,),
    )
    (memory,) = run(system)
    assert np.array_equal(words(memory)[10], words(memory)[0])


def test_a_vector_may_wait_on_its_wire_for_a_later_run() -> None:
    system = pair(send(), receive(10), start_cycle=20 * EPOCH)
    first, second = run(system)
    assert np.array_equal(words(second)[10], words(first)[0])


def test_a_vector_that_is_received_and_dropped_holds_up_what_is_sent_after_it() -> None:
    back = Wire(source_chip=1, source_link=2, target_chip=0, target_link=3, extra_cycles=0)
    copy = "0: mem.e40 read 5 e7\n1: mem.e43 write 6 e7"
    answer = f"{copy}\n100: sxm.c2c.e1 receive e5 link3\n{send(0, 200)}"
    system = pair(answer, f"{send(2)}\n{receive(300)}")
    first, second = run(replace(system, wires=(*system.wires, back)))
    assert np.array_equal(words(second)[10], words(first)[0])


def test_a_run_ends_only_when_it_has_received_what_it_drops() -> None:
    """Chip 0 has its turn before chip 1 has sent anything; its first run drops a vector, its second keeps the next."""
    back = Wire(source_chip=1, source_link=0, target_chip=0, target_link=1, extra_cycles=0)
    system = SystemProgram(
        chip=CHIP,
        programs=(
            program("200: sxm.c2c.e1 receive e5 link1"),
            program(receive(10)),
            program(send(0, 50, 100)),
        ),
        instances=tuple(
            Instance(chip=chip, program=n, start_cycle=start)
            for n, (chip, start) in enumerate(((0, 0), (0, 10 * EPOCH), (1, 0)))
        ),
        wires=(back,),
    )
    first, second = run(system)
    assert np.array_equal(words(first)[10], words(second)[1])


# Faults


@pytest.mark.parametrize("apart", [1, CHIP.c2c_vector_cycles - 1, CHIP.c2c_vector_cycles])
def test_a_link_is_busy_while_a_vector_goes_into_it(apart: int) -> None:
    system = pair(send(0, SENT, SENT + apart), receive(100, 101))
    if apart == CHIP.c2c_vector_cycles:
        run(system)
    else:
        assert fault(system) == ("link busy", SENT + apart, "sxm.c2c.e0 of chip 0")


def test_two_queues_that_send_on_one_link_at_once_are_both_to_blame() -> None:
    twice = "0: mem.e40 read 0 e0\n5: sxm.c2c.e0 send e0+ link0\n5: sxm.c2c.e1 send e0 link0"
    assert fault(pair(twice, receive(100, 101)))[:2] == ("link busy", 5)


def test_links_that_are_renamed_to_one_are_one() -> None:
    both = f"{send(0, SENT)}\n1: mem.e41 read 0 e1\n6: sxm.c2c.e1 send e1 link3"
    system = pair(both, receive(100, 101))
    together = replace(system.instances[0], links=(0, 1, 2, 0))
    system = replace(system, instances=(together, system.instances[1]))
    assert fault(system) == ("link busy", 6, "sxm.c2c.e1 of chip 0")
    at_once = both.replace("1: mem.e41", "0: mem.e41").replace("6: sxm", "5: sxm")
    system = replace(system, programs=(program(at_once), system.programs[1]))
    assert fault(system) == ("link busy", 5, "sxm.c2c.e0 of chip 0")


def test_a_link_without_a_wire_takes_and_gives_nothing() -> None:
    assert fault(pair(send(2), "")) == ("link missing", SENT, "sxm.c2c.e0 of chip 0")
    assert fault(pair("", receive(9, link=0))) == ("link missing", 9, "sxm.c2c.e1 of chip 1")


def test_more_vectors_wait_than_there_is_room_for() -> None:
    small = replace(CHIP, c2c=replace(CHIP.c2c, receive_buffer_vectors=2))
    sent = [SENT + n * CHIP.c2c_vector_cycles for n in range(3)]
    arrival = sent[2] + 1
    run(pair(send(0, *sent), receive(arrival, 200, 201), chip=small))
    late = pair(send(0, *sent), receive(arrival + 1, 200, 201), chip=small)
    assert fault(late) == ("link overflow", arrival, "sxm.c2c.e0 of chip 0")


def test_a_vector_that_nobody_receives_is_a_fault_and_so_is_one_that_nobody_sent() -> None:
    assert fault(pair(send(), "")) == ("link unread", SENT, "sxm.c2c.e0 of chip 0")
    two = pair(send(), receive(10, 11))
    assert fault(two) == ("link empty", 11, "sxm.c2c.e1 of chip 1")


def test_a_chip_starts_at_an_epoch_and_only_when_its_queues_are_filled() -> None:
    chip = replace(CHIP, c2c=replace(CHIP.c2c, epoch_cycles=16))
    copy = program("0: mem.e40 read 0 e0\n1: mem.e43 write 9 e0", chip)
    soonest = -(-(program_cycles(copy, chip) + chip.launch_cycles) // 16) * 16

    def again(start: int) -> SystemProgram:
        runs = (Instance(chip=0, program=0, start_cycle=n) for n in (start, 0))
        return SystemProgram(chip=chip, programs=(copy,), instances=tuple(runs))

    run(again(soonest))
    assert fault(again(soonest - 16)) == ("launch", soonest - 16, "start of chip 0")
    assert fault(again(soonest + 1)) == ("launch", soonest + 1, "start of chip 0")


def test_a_fault_names_chip_cycle_of_the_system_and_cycle_of_the_program() -> None:
    system = pair(send(), "3: mem.e40 write 1 w0", start_cycle=EPOCH)
    assert fault(system) == ("empty stream", EPOCH + 3, "mem.e40 of chip 1")
    with pytest.raises(
        MachineFault, match=r"cycle 259, queue mem.e40 of chip 1.*\(cycle 3 of prog"
    ):
        prove_system(system)


# Moved words

_MOVE = Move(first_word=8, end_word=16, delta=20)
_COPY = """
0: mem.e40 read 9 e0
0: mem.e41 read 3 e1
1: mem.e43 write 12 e0
20: mem.e40 read 4 e2
21: mem.e43 readwrite 8 e3 50 e2
40: mem.e40 read 8 e4 x3 +1
41: mem.e43 write 20 e4 x3 +1
"""


def test_a_moved_program_is_the_program_with_other_addresses() -> None:
    plain = program(_COPY, constant=[(NAMES["mem.e40"], 6, 18)])
    moved = relocated(plain, Instance(chip=0, program=0, start_cycle=0, relocation=(_MOVE,)))
    by_hand = _COPY.replace("read 9", "read 29").replace("write 12", "write 32")
    by_hand = by_hand.replace("readwrite 8", "readwrite 28").replace("read 8 e4", "read 28 e4")
    assert np.array_equal(moved.instructions, program(by_hand).instructions)
    slice_ = NAMES["mem.e40"]
    pieces = [[slice_, 6, 8], [slice_, 16, 18], [slice_, 28, 36]]
    assert sorted(moved.constant.tolist()) == pieces
    assert relocated(plain, Instance(chip=0, program=0, start_cycle=0)) is plain


def test_a_move_of_some_slices_leaves_the_others() -> None:
    move = replace(_MOVE, slices=(NAMES["mem.e43"],))
    moved = relocated(
        program(_COPY), Instance(chip=0, program=0, start_cycle=0, relocation=(move,))
    )
    by_hand = _COPY.replace("write 12", "write 32").replace("readwrite 8", "readwrite 28")
    assert np.array_equal(moved.instructions, program(by_hand).instructions)


def moving(text: str, *moves: Move, constant: Sequence[tuple[int, int, int]] = ()) -> SystemProgram:
    """One chip that runs a program with moved words."""
    return SystemProgram(
        chip=CHIP,
        programs=(program(text, constant=constant),),
        instances=(Instance(chip=0, program=0, start_cycle=0, relocation=moves),),
    )


def test_moved_words_are_judged_where_they_come_to_lie() -> None:
    run(moving(_COPY, _MOVE))
    far = replace(_MOVE, delta=CHIP.mem.words_per_slice - 9)
    assert fault(moving(_COPY, far)) == ("address range", 0, "mem.e40 of chip 0")
    both_low = replace(_MOVE, delta=0), Move(first_word=50, end_word=51, delta=-30)
    assert fault(moving(_COPY, *both_low)) == ("bank conflict", 21, "mem.e43 of chip 0")
    constant = [(NAMES["mem.e43"], 30, 34), (NAMES["mem.e43"], 31, 32)]
    run(moving(_COPY, constant=constant))
    assert fault(moving(_COPY, _MOVE, constant=constant)) == (
        "constant write",
        1,
        "mem.e43 of chip 0",
    )
    onto = Move(first_word=32, end_word=34, delta=-20)
    assert fault(moving(_COPY, onto, constant=constant))[0] == "constant write"


def test_a_repeat_that_steps_over_a_forbidden_word_is_not_taken_for_one_that_hits_it() -> None:
    """The quick look at a relocation sees ranges; the full check has the last word."""
    text = "0: mem.e40 read 8 e4 x3 +1\n1: mem.e43 write 8 e4 x3 +2"
    beside = [(NAMES["mem.e43"], 29, 30)]
    run(moving(text, replace(_MOVE, end_word=20), constant=beside))


def test_text_that_is_fetched_meets_moved_writes_in_its_bank() -> None:
    text = "0: mem.e40 read 8 e0\n1: mem.e43 write 9 e0\n1: vxm.0 ifetch mem.e43 40"
    run(moving(text))
    assert fault(moving(text, replace(_MOVE, delta=30))) == (
        "bank conflict",
        1,
        "mem.e43 of chip 0",
    )


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ((replace(_MOVE, first_word=9),), "partly"),
        ((replace(_MOVE, delta=-9),), "out of 0..65,535"),
        ((_MOVE, replace(_MOVE, slices=(1,))), "two moves"),
        ((replace(_MOVE, end_word=8),), "moves words 8..8"),
        ((replace(_MOVE, slices=(99,)),), "slices"),
    ],
)
def test_senseless_moves_are_refused(moves: tuple[Move, ...], message: str) -> None:
    system = moving(_COPY, *moves)
    for judge in (prove_system, ReferenceSystem(CHIP, memories(system)).run):
        with pytest.raises(ProgramError, match=message):
            judge(system)


# Systems that make no sense


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instances": (Instance(chip=0, program=2, start_cycle=0),)}, "program 2"),
        ({"instances": (Instance(chip=-1, program=0, start_cycle=0),)}, "chip -1"),
        ({"instances": (Instance(chip=0, program=0, start_cycle=-256),)}, "cycle -256"),
        ({"instances": (Instance(chip=0, program=0, start_cycle=0, links=(16,)),)}, "renamed"),
        ({"instances": (Instance(chip=0, program=1, start_cycle=0, links=(1,)),)}, "link 1"),
        ({"wires": (wire(), wire())}, "share"),
        ({"wires": (wire(-1),)}, "before"),
        ({"wires": (replace(wire(), target_link=16),)}, "link 16 of chip 1"),
    ],
)
def test_systems_that_name_what_does_not_exist_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    system = replace(pair(send(), receive(10)), **fields)
    for judge in (prove_system, ReferenceSystem(CHIP, memories(pair("", ""))).run):
        with pytest.raises(ProgramError, match=message):
            judge(system)


def test_a_system_for_other_chips_or_more_of_them_is_refused() -> None:
    system = pair(send(), receive(10))
    with pytest.raises(UsageError, match="2 chips"):
        ReferenceSystem(CHIP, memories(system)[:1]).run(system)
    with pytest.raises(UsageError, match="of chips"):
        FastSystem(FULL, memories(system)).prepare(system)
    foreign = replace(system, programs=(replace(system.programs[0], chip_id="x"),) * 2)
    with pytest.raises(ProgramError, match="for chip x"):
        prove_system(foreign)
    fast = FastSystem(CHIP, memories(system))
    with pytest.raises(UsageError, match="other memories"):
        FastSystem(CHIP, memories(system)).run(fast.prepare(system))


# A node of eight full-size chips


def exchange_program(chip: Chip) -> Program:
    """Every chip sends word 0 of `mem.e40` to its seven peers and puts what link n brings into word 10 + n."""
    rows = []
    for n in range(7):
        sent, got = 10 + n, 60 + n
        rows += [
            (NAMES["mem.e40"], "read", sent - SENT, {"a": 0, "b": 0}),
            (NAMES["sxm.c2c.e0"], "send", sent, {"a": 0, "b": n}),
            (NAMES["sxm.c2c.e1"], "receive", got, {"a": 32, "b": n}),
            (NAMES["mem.e40"], "write", got + LINK + 4, {"a": 10 + n, "b": 32}),
        ]
    return make_program(chip, rows, name="exchange")


def test_one_program_exchanges_vectors_among_all_chips_of_a_node() -> None:
    """Link n of chip i leads to chip i xor (n + 1), so all eight run the same program."""
    system = SystemProgram(
        chip=FULL,
        programs=(exchange_program(FULL),),
        instances=tuple(Instance(chip=n, program=0, start_cycle=0) for n in range(8)),
        wires=load_system("groqnode-v1").network(8).wires,
    )
    assert len(prove_system(system).transfers) == 56
    made = run(system)
    for chip, memory in enumerate(made):
        for n in range(7):
            assert np.array_equal(words(memory)[10 + n], words(made[chip ^ (n + 1)])[0])


def test_a_vector_goes_round_a_ring_of_eight_chips() -> None:
    """Seven hops, each a run of one program with its links renamed: word 0 of chip 0 ends in all chips."""
    relay = program(send(), FULL)
    wires = load_system("groqnode-v1").network(8).wires
    arrival = SENT + 1 + max(wire.extra_cycles for wire in wires)
    take = program(receive(arrival).replace("write 10", "write 0"), FULL)
    instances = []
    for n in range(7):
        out, start = (n ^ (n + 1)) - 1, 4 * EPOCH * n
        instances += [
            Instance(chip=n, program=0, start_cycle=start, links=(out,)),
            Instance(chip=n + 1, program=1, start_cycle=start, links=(0, out)),
        ]
    system = SystemProgram(
        chip=FULL,
        programs=(relay, take),
        instances=tuple(instances),
        wires=wires,
    )
    made = run(system)
    for memory in made:
        assert np.array_equal(words(memory)[0], words(made[0])[0])
