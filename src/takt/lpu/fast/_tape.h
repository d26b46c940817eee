/* The tape: what Python's `lift` hands to the kernels, and constants that both sides share (see codes.py). */
#ifndef TAKT_TAPE_H
#define TAKT_TAPE_H

#include <stdint.h>

#define LANES 320
#define MAX_ROWS 24 /* as codes.MAX_ROWS: activation vectors of one matrix operation */
#define SUPERLANE 16
#define BLOCK 32 /* lanes that a matrix product takes or skips together */
#define N_BLOCKS (LANES / BLOCK)

typedef uint8_t byte;

/* One operation; `args` is the index of its first operand pointer, `out` a pointer. 24 bytes, as codes.OP_DTYPE. */
typedef struct {
    uint16_t code, n;
    uint32_t args;
    uint64_t out;
    uint64_t imm;
} Op;

/* One column of a tile: pointers to its low and high bytes (i8: high unused), place in the result, and the largest
   high byte without sign, or UNKNOWN; if known, `bound` is no less than any weight's magnitude. A COPY is equal to an
   earlier column of the tile, whose place in the result `low` is; copies come last in a tile. 24 bytes, as
   codes.COLUMN_DTYPE. */
typedef struct {
    uint64_t low, high;
    uint16_t n;
    byte top, kind;
    float bound;
} Column;

#define UNKNOWN 255
enum { ORDINARY, ALL_ZERO, COPY };

/* Opcodes 20..42 are those of the VXM in the ISA table. */
enum {
    READ = 100, WRITE, GATHER, SCATTER,
    WIDEN16 = 110, WIDEN_I8, WIDEN_U8, JOIN, SPLIT, NARROW16, NARROW_I8, NARROW_U8,
    ACC_F32 = 120, ACC_I32, MATRIX_F16, MATRIX_I8,
    SHIFT = 130, SELECT, PERMUTE, DISTRIBUTE, TRANSPOSE, ROTATE,
    RECEIVE = 140, SEND
};

enum { FINE = 0, ADDRESS_RANGE, BAD_PERMUTE, BAD_CODE };

typedef struct {
    const Op *ops;
    const uint64_t *args;
    const Column *columns;
    const int64_t *tiles;     /* first column of each tile, and the end */
    int64_t n_ops, words; /* words of a slice */
    int threads;
    int64_t fault_at; /* op of the fault */
} Tape;

#if defined(__x86_64__) && defined(__GNUC__)
#define TAKT_X86 1
#endif

#endif
