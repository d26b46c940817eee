"""Repeats stand for the issues they were made from; reads and writes of a cycle become one instruction."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from takt.lpu.isa.program import INSTRUCTION, Program
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine.timing import expand
from takt.lpu.vision.fold import MOST_GAP, fold_issues

COLUMNS = ("time", "queue", "op", "a", "b", "c", "d")


@st.composite
def issues(draw: st.DrawFn) -> np.ndarray:
    """Stretches of even and uneven steps on a few queues, of MEM and others."""
    rows = []
    for queue, names in ((0, ("read", "write")), (1, ("read",)), (90, ("itof",)), (106, ("acc",))):
        for name in names:
            time = 0
            for _ in range(draw(st.integers(0, 6))):
                time += draw(st.integers(1, 7))
                word, gap = draw(st.integers(0, 500)), draw(st.integers(1, MOST_GAP + 1))
                step, stream = draw(st.integers(-2, 2)), draw(st.integers(0, 3))
                for i in range(draw(st.integers(1, 9))):
                    stepped = word + i * step if name != "itof" else 7
                    rows.append((time, queue, BY_NAME[name].op, max(stepped, 0), stream))
                    time += gap
    array = np.zeros(len(rows), INSTRUCTION)
    array["count"] = array["gap"] = 1
    for i, row in enumerate(rows):
        for column, value in zip(("time", "queue", "op", "a", "b"), row, strict=True):
            array[i][column] = value
    return array


def flat(array: np.ndarray) -> list[tuple[int, ...]]:
    """Issues as a sorted list, a readwrite taken apart again."""
    expanded = expand(Program(chip_id="x", instructions=array))
    rows = np.stack([getattr(expanded, name) for name in COLUMNS], axis=1).tolist()
    out = []
    for time, queue, op, a, b, c, d in rows:
        if op == BY_NAME["readwrite"].op:
            out.append((time, queue, BY_NAME["read"].op, a, b, 0, 0))
            out.append((time, queue, BY_NAME["write"].op, c, d, 0, 0))
        else:
            out.append((time, queue, op, a, b, c, d))
    return sorted(out)


@given(issues())
def test_folding_loses_nothing(array: np.ndarray) -> None:
    before = flat(array.copy())
    folded = fold_issues(array)
    assert flat(folded) == before
    assert len(folded) <= len(array)


def test_an_even_stretch_is_one_instruction() -> None:
    array = np.zeros(50, INSTRUCTION)
    array["count"] = array["gap"] = 1
    array["op"], array["time"], array["a"] = (
        BY_NAME["read"].op,
        np.arange(50) * 2,
        np.arange(50) * 3,
    )
    folded = fold_issues(array)
    assert folded[["count", "gap", "step"]].tolist() == [(50, 2, 3)]
