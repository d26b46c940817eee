"""The tape's layout: opcodes, record types and sizes shared with `_tape.h`.

VXM operations keep the opcodes of the ISA table (20 to 42); everything else has its own from 100 on.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

LANES = 320
SUPERLANES = 20
GROUP = 16  # columns that one `lw` loads
WORD_BYTES = 4 * LANES  # a vector of 32-bit lanes
MAX_ROWS = 24  # activation vectors in one matrix operation


class Code(IntEnum):
    """Opcodes of the tape beside those of the VXM."""

    READ = 100
    WRITE = 101
    GATHER = 102
    SCATTER = 103
    WIDEN16 = 110
    WIDEN_I8 = 111
    WIDEN_U8 = 112
    JOIN = 113
    SPLIT = 114
    NARROW16 = 115
    NARROW_I8 = 116
    NARROW_U8 = 117
    ACC_F32 = 120
    ACC_I32 = 121
    MATRIX_F16 = 122
    MATRIX_I8 = 123
    SHIFT = 130
    SELECT = 131
    PERMUTE = 132
    DISTRIBUTE = 133
    TRANSPOSE = 134
    ROTATE = 135
    RECEIVE = 140
    SEND = 141


OP_DTYPE = np.dtype(
    [("code", "<u2"), ("n", "<u2"), ("args", "<u4"), ("out", "<u8"), ("imm", "<u8")]
)
COLUMN_DTYPE = np.dtype(
    [("low", "<u8"), ("high", "<u8"), ("n", "<u2"), ("top", "u1"), ("zero", "u1"), ("bound", "<f4")]
)
UNKNOWN_TOP = 255
COPY = 2  # in place of `zero`: equal to the column whose `n` is in `low`

FAULTS = ("", "address range", "bad permute", "bad operand")
"""Names of the kinds of fault that the kernels find, by number."""
