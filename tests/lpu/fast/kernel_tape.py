"""Tapes of one operation, made by hand, to test a kernel alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast import _kernels
from takt.lpu.fast.codes import COLUMN_DTYPE, LANES, OP_DTYPE, UNKNOWN_TOP, Code

LEVELS = tuple(range(_kernels.kernels() + 1))
"""The kinds of kernel that this processor can run: plain, AVX2, AVX-512, AVX-512 with VBMI."""


def run_op(
    code: int,
    inputs: list[NDArray[np.generic]],
    out_bytes: int,
    *,
    level: int = 9,
    n: int = 0,
    imm: int = 0,
    columns: NDArray[np.void] | None = None,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """The result of one operation; AssertionError if it faults."""
    inputs = [np.ascontiguousarray(x) for x in inputs]
    out = np.full(out_bytes + 64, 0xAA, np.uint8)
    ops = np.zeros(1, OP_DTYPE)
    ops["code"], ops["n"], ops["imm"], ops["out"] = code, n, imm, out.ctypes.data
    args = np.array([x.ctypes.data for x in inputs] + [0], np.uint64)
    if columns is None:
        columns = np.zeros(0, COLUMN_DTYPE)
    tiles = np.array([0, len(columns)], np.int64)
    _kernels.kernels(level)
    try:
        fault, _ = _kernels.run(ops, args, columns, tiles, 1, 1, threads)
    finally:
        _kernels.kernels()
    assert fault == 0
    assert np.all(out[out_bytes:] == 0xAA), "written beyond the end"
    return out[:out_bytes]


def planes(raw: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return (raw & 0xFF).astype(np.uint8), (raw >> 8).astype(np.uint8)


def matrix_f16(
    weights: NDArray[np.uint16],
    acts: NDArray[np.uint16],
    *,
    level: int = 9,
    threads: int = 1,
    measured: bool = False,
) -> NDArray[np.uint32]:
    """[lanes, columns] × [rows, lanes] f16 patterns → [rows, columns] f32 patterns."""
    low, high = (np.ascontiguousarray(plane.T) for plane in planes(weights))
    columns = np.zeros(weights.shape[1], COLUMN_DTYPE)
    columns["low"] = low.ctypes.data + np.arange(len(columns)) * LANES
    columns["high"] = high.ctypes.data + np.arange(len(columns)) * LANES
    columns["n"], columns["top"] = np.arange(len(columns)), UNKNOWN_TOP
    if measured:
        _kernels.measure(columns, True)
        columns = columns[columns["zero"] == 0]
    rows = [plane for act in acts for plane in planes(act)]
    size = len(acts) * 4 * LANES
    out = run_op(
        Code.MATRIX_F16, rows, size, level=level, n=len(acts), columns=columns, threads=threads
    )
    return out.view(np.uint32).reshape(len(acts), LANES)


def matrix_i8(
    weights: NDArray[np.int8], acts: NDArray[np.int8], *, level: int = 9, threads: int = 1
) -> NDArray[np.int32]:
    """[lanes, columns] × [rows, lanes] → [rows, columns]."""
    stored = np.ascontiguousarray(weights.T)
    columns = np.zeros(weights.shape[1], COLUMN_DTYPE)
    columns["low"] = stored.ctypes.data + np.arange(len(columns)) * LANES
    columns["n"] = np.arange(len(columns))
    size = len(acts) * 4 * LANES
    out = run_op(
        Code.MATRIX_I8, list(acts), size, level=level, n=len(acts), columns=columns, threads=threads
    )
    return out.view(np.int32).reshape(len(acts), LANES)
