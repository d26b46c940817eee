/* The MXM: tiles times activations, to the bit of docs/numerics.md.

   f16: a sum of exact products, computed in doubles, is off by at most d · 2⁻⁵³ · Σ|x| · max|w| if no product takes part in
   more than d additions. When both ends of that interval round to the same f32, so does the exact sum,
   rounding being monotone. Otherwise, often a tie, the sum may still be exact because all products are multiples of a
   unit that is large enough; else it is done again in 128-bit fixed point (products are multiples of 2⁻⁴⁸, the sum stays
   below 2⁴¹). The result therefore depends
   neither on the order of additions nor on the processor nor on the number of threads. */
#ifndef TAKT_MATRIX_H
#define TAKT_MATRIX_H

#include "_lanes.h"
#include "_pool.h"

#ifdef TAKT_X86
#include <immintrin.h>
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#endif

#define CHUNK 16          /* columns that a thread takes at a time */
#define X_SCALE 0x1p1000   /* with VBMI: see _dots.h */
#define AHEAD 24          /* columns of i8 weights that are fetched ahead of use */
/* Into the second level of cache: more of these can be under way than of fetches into the first. */
#define FETCH(p) __builtin_prefetch(p, 0, 1)
#define WORTH_SHARING 640 /* column blocks, some microseconds */

typedef struct {
    const byte *low[8], *high[8], *next_low[8], *next_high[8];
} Group;

typedef struct {
    const Column *columns; /* without copies */
    int n_columns, n_copies, rows, n_blocks;
    int blocks[N_BLOCKS];       /* first lane of each block that has a non-zero activation */
    double x[MAX_ROWS * LANES]; /* blocks packed together */
    int n_blocks8, blocks8[LANES / 64]; /* i8: the same in blocks of 64 */
    int16_t x8[MAX_ROWS * LANES];
    byte unsigned8[MAX_ROWS * LANES]; /* x8 + 128 */
    double magnitude[MAX_ROWS]; /* Σ|x| of each row */
    byte spoiled[MAX_ROWS];     /* an activation is inf or NaN */
    byte least[MAX_ROWS];       /* least exponent field of an activation that is not zero */
    byte lit[MAX_ROWS][LANES];  /* 255 where an activation is not zero */
    const uint64_t *activations;
} Job;

/* A finite f16 as a multiple of 2⁻²⁴. */
INLINE int64_t fixed_f16(const byte *low, const byte *high, int l) {
    int bits_ = low[l] | high[l] << 8, exponent = bits_ >> 10 & 31;
    int64_t magnitude = exponent ? (int64_t)((bits_ & 0x3ff) | 0x400) << (exponent - 1) : bits_ & 0x3ff;
    return bits_ & 0x8000 ? -magnitude : magnitude;
}

static __attribute__((noinline)) float exact_sum(const Column *column, const byte *x_low, const byte *x_high) {
    const byte *low = (const byte *)column->low, *high = (const byte *)column->high;
    __int128 sum = 0;
    for (int l = 0; l < LANES; l++) {
        if (!((low[l] | high[l]) && (x_low[l] | x_high[l]))) continue;
        sum += (__int128)fixed_f16(low, high, l) * fixed_f16(x_low, x_high, l);
    }
    return (float)sum * 0x1p-48f; /* the conversion rounds once, to nearest even; the scaling is exact */
}

/* The largest high byte of a column, sign dropped. */
INLINE byte top_of(const byte *high) {
    byte top = 0;
    EACH_LANE {
        byte v = high[l] & 0x7f;
        top = v > top ? v : top;
    }
    return top;
}

/* An upper bound of |w| over a column: 0 if it is all zero, infinity if there is an inf or NaN. */
INLINE double bound_of(const Column *column) {
    byte top = top_of((const byte *)column->high);
    if (top >= 0x7c) return INFINITY;
    if (top > 0) return (double)from_f16((uint32_t)top << 8 | 0xff);
    const byte *low = (const byte *)column->low;
    byte any = 0;
    EACH_LANE any |= low[l];
    return any * 0x1p-24; /* no byte is above the union of all bits */
}

/* The least exponent field among a column's weights that meet a lit activation; 31 if there are none. A finite f16 with
   exponent field e is a multiple of 2^(max(e, 1) − 25). */
INLINE int least_exponent(const byte *low, const byte *high, const byte *lit) {
    byte least = 31;
    EACH_LANE {
        byte exponent = high[l] >> 2 & 31;
        byte counts = (low[l] | (high[l] & 0x7f)) & lit[l] ? 255 : 0;
        exponent = exponent | (byte)~counts;
        least = exponent < least ? exponent : least;
    }
    return least > 1 ? least : 1;
}

/* Round a sum that its error bound leaves in doubt. `most`: a bound of the sum of the products' magnitudes. */
static __attribute__((noinline)) uint32_t settled(const Job *job, const Column *column, int row, double most, double sum) {
    if (job->spoiled[row] || !(most < INFINITY)) return NAN_F32;
    const byte *low = (const byte *)column->low, *high = (const byte *)column->high;
    int unit = least_exponent(low, high, job->lit[row]) + job->least[row] - 50;
    /* No partial sum has more than 53 bits above the unit of all products: then no addition ever rounded. */
    if (most < ldexp(0x1p52, unit)) return bits((float)sum);
    const uint64_t *x = job->activations + 2 * row;
    return bits(exact_sum(column, (const byte *)x[0], (const byte *)x[1]));
}

/* `depth`: how many additions any product went through, and some more for the two below. */
INLINE uint32_t rounded(const Job *job, const Column *column, int row, double bound, double sum, int depth) {
    double most = job->magnitude[row] * bound, error = depth * 0x1p-53 * most;
    float below = (float)(sum - error), above = (float)(sum + error);
    return below == above && error < INFINITY ? bits(above) : settled(job, column, row, most, sum);
}

typedef void (*ColumnsFn)(const Job *, int, int, uint32_t *);

#define NAME(x) x##_plain
#define TARGET
#include "_dots.h"
#undef NAME
#undef TARGET

#ifdef TAKT_X86
#define NAME(x) x##_avx2
#define TARGET TARGET_AVX2
#define TAKT_AVX2
#include "_dots.h"
#undef TAKT_AVX2
#undef NAME
#undef TARGET
#define NAME(x) x##_avx512
#define TARGET TARGET_AVX512
#define TAKT_AVX512
#include "_dots.h"
#undef NAME
#undef TARGET
/* For the weights of lanes 8v to 8v + 7: where in (32 low bytes, 32 high bytes) the top bytes of each double come from. */
#define TOP8(l) 0, 0, 0, 0, 0, 0, l, 32 + (l)
#define TOP64(l) TOP8(l), TOP8(l + 1), TOP8(l + 2), TOP8(l + 3), TOP8(l + 4), TOP8(l + 5), TOP8(l + 6), TOP8(l + 7)
static const byte top_bytes[4][64] = {{TOP64(0)}, {TOP64(8)}, {TOP64(16)}, {TOP64(24)}};
#define NAME(x) x##_vbmi
#define TARGET __attribute__((target("avx512vbmi,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define TAKT_VBMI
#include "_dots.h"
#undef TAKT_VBMI
#undef TAKT_AVX512
#undef NAME
#undef TARGET
#endif

static int kernel_level;
static double x_scale = 1; /* what the kernels want activations times */
static ColumnsFn columns_f16 = columns_f16_plain, columns_i8 = columns_i8_plain;

/* 0 plain, 1 AVX2, 2 AVX-512, 3 with VBMI and VNNI: the best that the processor has and that is allowed. */
static int choose_kernels(int at_most) {
    kernel_level = 0, x_scale = 1, columns_f16 = columns_f16_plain, columns_i8 = columns_i8_plain;
#ifdef TAKT_X86
    __builtin_cpu_init();
    if (at_most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        kernel_level = 1, columns_f16 = columns_f16_avx2, columns_i8 = columns_i8_avx2;
    if (at_most >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        kernel_level = 2, columns_f16 = columns_f16_avx512, columns_i8 = columns_i8_avx512;
    if (at_most >= 3 && kernel_level == 2 && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vnni"))
        kernel_level = 3, x_scale = X_SCALE, columns_f16 = columns_f16_vbmi, columns_i8 = columns_i8_vbmi;
#endif
    (void)at_most;
    return kernel_level;
}

/* Jobs that helpers may join, in the slots of the same numbers. */
static Job jobs[N_SLOTS];

static int end_of(const Job *job, int chunk) {
    return (chunk + 1) * CHUNK < job->n_columns ? (chunk + 1) * CHUNK : job->n_columns;
}

static void chunk_f16(int slot, int chunk, uint32_t *out) {
    columns_f16(&jobs[slot], chunk * CHUNK, end_of(&jobs[slot], chunk), out);
}

static void chunk_i8(int slot, int chunk, uint32_t *out) {
    columns_i8(&jobs[slot], chunk * CHUNK, end_of(&jobs[slot], chunk), out);
}

static void copy_chunk(int slot, int chunk, const uint32_t *from) {
    const Job *job = &jobs[slot];
    for (int i = chunk * CHUNK; i < end_of(job, chunk); i++)
        for (int row = 0; row < job->rows; row++) {
            int at = row * LANES + job->columns[i].n;
            slots[slot].out[at] = from[at];
        }
}

/* Activations as doubles, without the blocks that are zero in every row. */
INLINE void prepare_f16(Job *job) {
    uint32_t x[MAX_ROWS][LANES]; /* f32 patterns */
    job->n_blocks = 0;
    for (int r = 0; r < job->rows; r++) {
        const byte *low = (const byte *)job->activations[2 * r], *high = (const byte *)job->activations[2 * r + 1];
        byte spoiled = 0;
        widen16(low, high, x[r]);
        EACH_LANE spoiled |= (high[l] & 0x7c) == 0x7c;
        EACH_LANE job->lit[r][l] = low[l] | (high[l] & 0x7f) ? 255 : 0;
        job->spoiled[r] = spoiled;
        job->least[r] = (byte)least_exponent(low, high, job->lit[r]);
        job->magnitude[r] = 0;
    }
    for (int lane = 0; lane < LANES; lane += BLOCK) {
        uint32_t any = 0;
        for (int r = 0; r < job->rows; r++)
            for (int l = 0; l < BLOCK; l++) any |= x[r][lane + l] << 1;
        if (!any) continue;
        for (int r = 0; r < job->rows; r++) {
            double magnitude = 0, *to = job->x + r * LANES + job->n_blocks * BLOCK;
            for (int l = 0; l < BLOCK; l++) to[l] = (double)real(x[r][lane + l]) * x_scale;
            for (int l = 0; l < BLOCK; l++) magnitude += fabs((double)real(x[r][lane + l])); /* exact: multiples of 2⁻²⁴ below 2²⁵ */
            job->magnitude[r] += magnitude;
        }
        job->blocks[job->n_blocks++] = lane;
    }
}

INLINE void prepare(Job *job, const Tape *tape, const Op *op, const uint64_t *args) {
    job->columns = tape->columns + tape->tiles[op->imm];
    job->n_columns = (int)(tape->tiles[op->imm + 1] - tape->tiles[op->imm]);
    job->rows = op->n, job->activations = args, job->n_copies = 0;
    while (job->n_columns && job->columns[job->n_columns - 1].kind == COPY) job->n_columns--, job->n_copies++;
    if (op->code == MATRIX_F16) {
        prepare_f16(job);
        return;
    }
    job->n_blocks = N_BLOCKS;
    for (int r = 0; r < job->rows; r++) {
        const byte *x = (const byte *)args[r];
        EACH_LANE job->x8[r * LANES + l] = (int8_t)x[l];
        EACH_LANE job->unsigned8[r * LANES + l] = x[l] ^ 128;
    }
    job->n_blocks8 = 0;
    for (int lane = 0; lane < LANES; lane += 64) {
        byte any = 0;
        for (int r = 0; r < job->rows; r++)
            for (int l = 0; l < 64; l++) any |= job->unsigned8[r * LANES + lane + l] ^ 128;
        if (any) job->blocks8[job->n_blocks8++] = lane;
    }
}

/* n: activation vectors; imm: tile; args: their byte rows. Result: n × LANES values. */
INLINE void matrix(const Tape *tape, const Op *op, const uint64_t *args) {
    Job own;
    int is_f16 = op->code == MATRIX_F16, slot = tape->threads > 1 ? free_slot() : -1;
    Job *job = slot < 0 ? &own : &jobs[slot];
    uint32_t *out = (uint32_t *)op->out;
    prepare(job, tape, op, args);
    if (job->n_columns + job->n_copies < LANES) /* columns that are all zero are not in the tile */
        for (int r = 0; r < job->rows; r++) {
            uint32_t value = is_f16 && job->spoiled[r] ? NAN_F32 : 0;
            EACH_LANE out[r * LANES + l] = value;
        }
    if (slot >= 0 && job->n_columns * job->n_blocks * job->rows >= WORTH_SHARING) {
        slots[slot].compute = is_f16 ? chunk_f16 : chunk_i8;
        slots[slot].copy = copy_chunk;
        slots[slot].out = out;
        slots[slot].chunks = (job->n_columns + CHUNK - 1) / CHUNK;
        run_chunks(slot);
    } else if (is_f16) columns_f16(job, 0, job->n_columns, out);
    else columns_i8(job, 0, job->n_columns, out);
    for (int r = 0; r < job->rows; r++)
        for (const Column *copy = job->columns + job->n_columns, *end = copy + job->n_copies; copy < end; copy++)
            out[r * LANES + copy->n] = out[r * LANES + copy->low];
}

#endif
