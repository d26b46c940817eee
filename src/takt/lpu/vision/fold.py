"""Single issues to instructions: equal steps in time and address become repeats.

Greedy, from the first issue of each queue on. Gaps longer than `MOST_GAP` stay nops, so that fetches of program text find
idle cycles.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from takt.lpu.isa.program import INSTRUCTION
from takt.lpu.isa.table import BY_NAME

MOST_GAP: Final = 4
_MOST_STEP: Final = 1 << 14
_STEPPING: Final = {"read": "a", "readwrite": "a", "write": "a", "lw": "b", "acc": "a"}
"""The operand that a repeat advances, of the instructions that this compiler uses."""


def fold_issues(issues: NDArray[np.void]) -> NDArray[np.void]:
    """Instructions sorted by (queue, time) that stand for these issues (rows of INSTRUCTION, count 1)."""
    if not len(issues):
        return issues
    rows = _join(issues[np.lexsort((issues["op"], issues["time"], issues["queue"]))])
    value = np.zeros(len(rows), np.int64)
    fixed = [rows[name].astype(np.int64) for name in "abcd"]
    for name, column in _STEPPING.items():
        chosen = rows["op"] == BY_NAME[name].op
        value[chosen] = rows[column][chosen]
        fixed["abcd".index(column)][chosen] = 0
        if name == "readwrite":
            fixed["abcd".index("c")][chosen] = 0
    same = np.ones(len(rows), bool)
    same[0] = False
    for part in (rows["queue"], rows["op"], rows["imm"], *fixed):
        same[1:] &= part[1:] == part[:-1]
    gap = np.diff(rows["time"].astype(np.int64), prepend=0)
    step = np.diff(value, prepend=0)
    both = rows["op"] == BY_NAME["readwrite"].op
    same &= ~both | (np.diff(rows["c"].astype(np.int64), prepend=0) == step)
    same &= (gap <= MOST_GAP) & (np.abs(step) <= _MOST_STEP)
    # Row i goes on as row i − 1 did: a run that holds i − 2 and i − 1 can take it in.
    goes_on = same.copy()
    goes_on[1:] &= same[:-1] & (gap[1:] == gap[:-1]) & (step[1:] == step[:-1])
    stops = np.append(np.flatnonzero(~goes_on), len(rows))
    starts, counts = _runs(same, stops)
    out = np.zeros(len(starts), INSTRUCTION)
    for name in ("time", "queue", "op", "a", "b", "c", "d", "imm"):
        out[name] = rows[name][starts]
    out["count"], out["gap"] = counts, 1
    many = counts > 1
    out["gap"][many] = gap[starts[many] + 1]
    out["step"][many] = step[starts[many] + 1]
    return out


def _join(rows: NDArray[np.void]) -> NDArray[np.void]:
    """A read and a write of one slice in one cycle become one instruction. Rows by (queue, time, opcode)."""
    read, write, both = (BY_NAME[name].op for name in ("read", "write", "readwrite"))
    first = np.flatnonzero(
        (rows["queue"][1:] == rows["queue"][:-1])
        & (rows["time"][1:] == rows["time"][:-1])
        & (rows["op"][:-1] == read)
        & (rows["op"][1:] == write)
    )
    rows["op"][first] = both
    rows["c"][first], rows["d"][first] = rows["a"][first + 1], rows["b"][first + 1]
    return np.delete(rows, first + 1)


def _runs(
    same: NDArray[np.bool_], stops: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and length of each run. `stops`: rows that do not go on as the two before them did, and the end."""
    starts, counts = [], []
    joins, ends = same.tolist(), stops.tolist()
    at, next_stop, n = 0, 0, len(joins)
    while at < n:
        end = at + 1
        if end < n and joins[end]:
            while ends[next_stop] <= end:
                next_stop += 1
            end = ends[next_stop]
        starts.append(at)
        counts.append(end - at)
        at = end
    return np.array(starts, np.int64), np.array(counts, np.int64)
