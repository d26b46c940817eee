"""The pipeline: what it prints, that it always gives the same program, and that a wrong schedule does not get out."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from takt.chips import Chip
from takt.errors import MachineFault
from takt.lpu import Program, Session, compile_model
from takt.lpu.compiler import PASSES
from takt.lpu.isa.program import sort_instructions
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine.checker import check, prove
from takt.models import random_model

from .conftest import small_shape

NAMES = ["lower", "schedule", "supply", "verify"]

DIGEST = """
import hashlib
from takt.chips import load_chip
from takt.lpu import compile_model
from takt.models import SHAPES, random_model
compiled = compile_model(random_model(SHAPES["stories260k"]), load_chip("lpu-v1"))
for step in (compiled.decode(0), compiled.prompt(0)):
    print(hashlib.sha256(step.program.instructions.tobytes()).hexdigest(), step.program.cycles)
"""


def small_program(chip: Chip) -> Program:
    return compile_model(random_model(small_shape()), chip).decode(0).program


def test_the_passes_are_these_in_this_order() -> None:
    assert [step.name for step in PASSES] == NAMES


def test_debug_level_two_names_each_pass_and_its_time(
    chip: Chip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAKT_DEBUG", "2")
    small_program(chip)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.split() for line in err.splitlines() if line.startswith("takt: pass ")]
    assert [line[2] for line in lines] == NAMES
    assert all(float(line[3]) >= 0 and line[4] == "s" for line in lines)


def test_without_debug_nothing_is_printed(
    chip: Chip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TAKT_DEBUG", raising=False)
    small_program(chip)
    assert capsys.readouterr() == ("", "")


def test_the_same_model_gives_the_same_bytes_in_every_process() -> None:
    found = {digest(seed) for seed in ("0", "1", "4711")}
    assert len(found) == 1


def digest(hash_seed: str) -> str:
    """What `DIGEST` prints in a new process whose sets and dicts of strings are in another order."""
    return subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_compiling_twice_gives_the_same_bytes(chip: Chip) -> None:
    one, other = small_program(chip), small_program(chip)
    assert one.instructions.tobytes() == other.instructions.tobytes()
    assert np.array_equal(one.constant, other.constant)


def moved(program: Program, row: int, by: int) -> Program:
    """The program with one instruction `by` cycles later."""
    rows = program.instructions.copy()
    rows["time"][row] += by
    return replace(program, instructions=sort_instructions(rows))


@pytest.mark.parametrize("by", [-1, 1])
def test_any_instruction_of_the_data_path_one_cycle_off_is_caught(by: int, chip: Chip) -> None:
    """What carries data meets it to the cycle. (Loading a tile earlier or later into a free cycle may be harmless,
    and so may a read or write of memory whose stream another instruction was to use anyway: those stay out.)"""
    program = small_program(chip)
    vxm = {op.op for name, op in BY_NAME.items() if op.unit.name == "VXM"}
    data = vxm | {BY_NAME[name].op for name in ("abc", "acc", "distribute", "shift", "select")}
    candidates = np.flatnonzero(np.isin(program.instructions["op"], list(data)))
    chosen = np.random.default_rng(2).choice(candidates, 25, replace=False)
    for row in chosen.tolist():
        assert check(moved(program, row, by), chip).issues, program.instructions[row]


def test_a_fault_names_cycle_queue_and_instruction_and_stops_every_engine(chip: Chip) -> None:
    compiled = compile_model(random_model(small_shape()), chip)
    program = compiled.decode(0).program
    abc = np.flatnonzero(program.instructions["op"] == BY_NAME["abc"].op)
    broken = moved(program, int(abc[len(abc) // 2]), 1)
    with pytest.raises(MachineFault) as caught:
        prove(broken, chip)
    assert caught.value.cycle is not None
    assert caught.value.queue
    assert caught.value.instruction
    assert caught.value.neighbourhood
    for engine in ("fast", "reference"):
        session = Session(compiled, engine=engine)
        compiled.write_inputs(session.memory, 1, 0)
        with pytest.raises(MachineFault) as again:
            session._run(broken)
        assert (again.value.cycle, again.value.queue) == (caught.value.cycle, caught.value.queue)


@dataclass(frozen=True)
class Broken:
    """A pass that shifts one VXM instruction, between `supply` and `verify`."""

    name: str = "broken"

    def run(self, work):
        vxm = BY_NAME["add"].op
        row = int(np.flatnonzero(work.program.instructions["op"] == vxm)[0])
        return replace(work, program=moved(work.program, row, 1))

    def spec(self, work) -> None:
        return


def test_a_wrong_schedule_stops_in_the_verify_pass(
    chip: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("takt.lpu.compiler.passes.PASSES", (*PASSES[:3], Broken(), PASSES[3]))
    with pytest.raises(MachineFault) as caught:
        small_program(chip)
    assert caught.value.__notes__ == ["in pass 'verify'"]
