/* Everything that works lane by lane: VXM, SXM, conversions between bytes on streams and 32-bit values.

   Loops run over a fixed number of lanes, without branches, so that the compiler makes vector code of them; each f32
   operation rounds on its own (-ffp-contract=off). docs/numerics.md says what is computed. */
#ifndef TAKT_LANES_H
#define TAKT_LANES_H

#include <math.h>
#include <string.h>

#include "_tape.h"

#define INLINE static inline __attribute__((always_inline))
#define EACH_LANE for (int l = 0; l < LANES; l++)

#define NAN_F32 0x7fc00000u

INLINE uint32_t bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
INLINE float real(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
INLINE float canonical(float x) { return x != x ? real(NAN_F32) : x; }

/* f16 pattern to f32, exact; NaN becomes canonical. The magnitude read as an f32 is 2^112 times too small. */
INLINE float from_f16(uint32_t h) {
    uint32_t magnitude = (h & 0x7fffu) << 13, sign = (h & 0x8000u) << 16;
    uint32_t value = bits(real(magnitude) * 0x1p112f);
    value = magnitude >= 0x0f800000u ? 0x7f800000u : value;
    value |= sign;
    return real(magnitude > 0x0f800000u ? NAN_F32 : value);
}

/* f32 to f16 pattern: nearest even, saturating at 65504; NaN becomes 0x7e00. */
INLINE uint32_t to_f16(float x) {
    uint32_t u = bits(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    uint32_t capped = magnitude > 0x477fe000u ? 0x477fe000u : magnitude; /* 65504 */
    uint32_t normal = (capped + ((15u - 127u) << 23) + 0xfffu + (capped >> 13 & 1u)) >> 13;
    /* below 2^-14 an f16 is a multiple of 2^-24, the unit in the last place of f32 values near 0.5 */
    uint32_t subnormal = bits(real(capped) + 0.5f) - 0x3f000000u;
    uint32_t half = (capped < 0x38800000u ? subnormal : normal) | sign;
    return magnitude > 0x7f800000u ? 0x7e00u : half;
}

/* Nearest integer, ties to even, for |x| < 2^22; −0 may become +0. */
INLINE float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }

INLINE float exp_lane(float x) {
    float inside = x > -104.0f ? x : -104.0f;
    inside = inside < 89.0f ? inside : 89.0f;
    float n = nearest(inside * 1.44269504f);
    float r = (inside - n * 0.693359375f) - n * -2.12194440e-4f;
    float z = r * r;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float y = (p * z + r) + 1.0f;
    int32_t whole = (int32_t)n, half = whole >> 1, rest = whole - half;
    y = y * real((uint32_t)(half + 127) << 23);
    y = y * real((uint32_t)(rest + 127) << 23);
    return x != x ? x : y;
}

INLINE float tanh_lane(float x) {
    float e = exp_lane(-2.0f * fabsf(x));
    float t = (1.0f - e) / (1.0f + e);
    return real((bits(t) & 0x7fffffffu) | (bits(x) & 0x80000000u));
}

INLINE uint32_t ftoi_lane(float x) {
    float magnitude = fabsf(x);
    float whole = (magnitude + 8388608.0f) - 8388608.0f;
    whole = magnitude < 8388608.0f ? whole : magnitude;
    float safe = whole < 2147483648.0f ? whole : 0.0f; /* also for NaN */
    int32_t positive = (int32_t)safe;
    uint32_t value = bits(x) >> 31 ? 0u - (uint32_t)positive : (uint32_t)positive;
    uint32_t limit = bits(x) >> 31 ? 0x80000000u : 0x7fffffffu;
    value = whole >= 2147483648.0f ? limit : value;
    return x != x ? 0u : value;
}

INLINE int32_t clip(int64_t x, int64_t low, int64_t high) { return (int32_t)(x < low ? low : x > high ? high : x); }

/* One VXM operation on 32-bit lanes. */
INLINE int vxm(int code, const uint32_t *restrict x, const uint32_t *restrict y, uint32_t *restrict z) {
#define X real(x[l])
#define Y real(y[l])
#define SX ((int32_t)x[l])
#define SY ((int32_t)y[l])
#define LANEWISE(code, value) case code: EACH_LANE z[l] = (value); return FINE;
#define FLOAT(code, value) LANEWISE(code, bits(canonical(value)))
    switch (code) {
    LANEWISE(20, x[l])
    FLOAT(21, real(x[l] ^ 0x80000000u))
    FLOAT(22, real(x[l] & 0x7fffffffu))
    FLOAT(23, X > 0.0f || X != X ? X : 0.0f)
    FLOAT(24, exp_lane(X))
    FLOAT(25, 1.0f / sqrtf(X))
    FLOAT(26, tanh_lane(X))
    LANEWISE(27, bits((float)SX))
    LANEWISE(28, ftoi_lane(X))
    FLOAT(30, X + Y)
    FLOAT(31, X - Y)
    FLOAT(32, X * Y)
    FLOAT(33, X != X || Y != Y ? real(NAN_F32) : X > Y ? X : Y)
    FLOAT(34, X != X || Y != Y ? real(NAN_F32) : X < Y ? X : Y)
    LANEWISE(35, y[l] != 0 ? x[l] : 0u)
    LANEWISE(36, x[l] + y[l])
    LANEWISE(37, x[l] - y[l])
    LANEWISE(38, x[l] * y[l])
    LANEWISE(39, (uint32_t)clip((int64_t)SX + SY, INT32_MIN, INT32_MAX))
    LANEWISE(40, (uint32_t)clip((int64_t)SX - SY, INT32_MIN, INT32_MAX))
    LANEWISE(41, SX > SY ? x[l] : y[l])
    LANEWISE(42, SX < SY ? x[l] : y[l])
    default: return BAD_CODE;
    }
#undef X
#undef Y
#undef SX
#undef SY
#undef LANEWISE
#undef FLOAT
}

INLINE void widen16(const byte *restrict low, const byte *restrict high, uint32_t *restrict z) {
    uint16_t half[LANES]; /* in two steps: bytes to halves, halves to words */
    EACH_LANE half[l] = (uint16_t)(low[l] | high[l] << 8);
    EACH_LANE z[l] = bits(from_f16(half[l]));
}

INLINE void join(const uint64_t *args, uint32_t *restrict z) {
    const byte *restrict a = (const byte *)args[0], *restrict b = (const byte *)args[1];
    const byte *restrict c = (const byte *)args[2], *restrict d = (const byte *)args[3];
    EACH_LANE z[l] = (uint32_t)a[l] | (uint32_t)b[l] << 8 | (uint32_t)c[l] << 16 | (uint32_t)d[l] << 24;
}

INLINE void split(const uint32_t *restrict x, byte *restrict z) {
    EACH_LANE z[l] = (byte)x[l];
    EACH_LANE z[l + LANES] = (byte)(x[l] >> 8);
    EACH_LANE z[l + 2 * LANES] = (byte)(x[l] >> 16);
    EACH_LANE z[l + 3 * LANES] = (byte)(x[l] >> 24);
}

INLINE void narrow16(const uint32_t *restrict x, byte *restrict z) {
    uint16_t half[LANES];
    EACH_LANE half[l] = (uint16_t)to_f16(real(x[l]));
    EACH_LANE z[l] = (byte)half[l];
    EACH_LANE z[l + LANES] = (byte)(half[l] >> 8);
}

INLINE int bijection(const byte *low, const byte *high, uint16_t *map) {
    byte seen[LANES] = {0};
    int n_seen = 0;
    EACH_LANE {
        map[l] = (uint16_t)(low[l] | high[l] << 8);
        if (map[l] >= LANES) return 0;
        n_seen += !seen[map[l]];
        seen[map[l]] = 1;
    }
    return n_seen == LANES;
}

INLINE int permute(const Op *op, const uint64_t *args) {
    uint16_t map[LANES];
    if (!bijection((const byte *)args[op->n], (const byte *)args[op->n + 1], map)) return BAD_PERMUTE;
    for (int i = 0; i < op->n; i++) {
        const byte *x = (const byte *)args[i];
        byte *z = (byte *)op->out + i * LANES;
        EACH_LANE z[l] = x[map[l]];
    }
    return FINE;
}

/* imm: amount as i32 in the low half, 1 in the high half to wrap. */
INLINE void shift(const Op *op, const uint64_t *args) {
    int amount = (int)(int32_t)op->imm, wrap = op->imm >> 32 != 0;
    if (wrap) amount = ((amount % LANES) + LANES) % LANES;
    int inside = amount > -LANES && amount < LANES;
    int kept = !inside ? 0 : LANES - (amount < 0 ? -amount : amount);
    int from = amount < 0 ? -amount : 0, to = amount > 0 ? amount : 0;
    for (int i = 0; i < op->n; i++) {
        const byte *x = (const byte *)args[i];
        byte *z = (byte *)op->out + i * LANES;
        if (!inside) { memset(z, 0, LANES); continue; }
        if (wrap) memcpy(z, x + kept, (size_t)(LANES - kept));
        else if (amount > 0) memset(z, 0, (size_t)amount);
        else memset(z + kept, 0, (size_t)(LANES - kept));
        memcpy(z + to, x + from, (size_t)kept);
    }
}

INLINE void select_(const Op *op, const uint64_t *args) {
    const byte *restrict mask = (const byte *)args[2 * op->n];
    for (int i = 0; i < op->n; i++) {
        const byte *restrict x = (const byte *)args[i], *restrict y = (const byte *)args[op->n + i];
        byte *restrict z = (byte *)op->out + i * LANES;
        EACH_LANE z[l] = mask[l] ? x[l] : y[l];
    }
}

/* imm: 16 nibbles, the source of each lane; n: lanes to zero. */
INLINE void distribute(const Op *op, const uint64_t *args) {
    const byte *x = (const byte *)args[0];
    byte *z = (byte *)op->out;
    byte source[SUPERLANE], keep[SUPERLANE];
    for (int l = 0; l < SUPERLANE; l++) {
        source[l] = op->imm >> (4 * l) & 15;
        keep[l] = op->n >> l & 1 ? 0 : 0xff;
    }
    for (int s = 0; s < LANES; s += SUPERLANE)
        for (int l = 0; l < SUPERLANE; l++) z[s + l] = x[s + source[l]] & keep[l];
}

typedef byte V16 __attribute__((vector_size(16)));

#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* GCC has the name above only from 12 on */
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (V16){__VA_ARGS__})
#endif

/* 16 × 16 bytes by four rounds of interleaving rows i and i + 8. */
INLINE void transpose(const uint64_t *args, byte *z) {
    for (int s = 0; s < LANES; s += SUPERLANE) {
        V16 a[16], b[16];
        for (int i = 0; i < 16; i++) memcpy(&a[i], (const byte *)args[i] + s, 16);
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 8; i++) {
                b[2 * i] = INTERLEAVE(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                b[2 * i + 1] = INTERLEAVE(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            }
            memcpy(a, b, sizeof a);
        }
        for (int i = 0; i < 16; i++) memcpy(z + i * LANES + s, &a[i], 16);
    }
}

INLINE void rotate(const Op *op, const uint64_t *args) {
    for (int i = 0; i < op->n; i++)
        for (int j = 0; j < op->n; j++) {
            const byte *x = (const byte *)args[i];
            byte *z = (byte *)op->out + (i * op->n + j) * LANES;
            for (int s = 0; s < LANES; s += SUPERLANE) {
                memcpy(z + s, x + s + j, (size_t)(SUPERLANE - j));
                memcpy(z + s + SUPERLANE - j, x + s, (size_t)j);
            }
        }
}

INLINE int64_t mapped(const Op *op, const uint64_t *args, int superlane) {
    int lane = superlane * SUPERLANE;
    return (int64_t)op->imm + (((const byte *)args[0])[lane] | ((const byte *)args[1])[lane] << 8);
}

INLINE int gather(const Tape *tape, const Op *op, const uint64_t *args) {
    for (int s = 0; s < LANES / SUPERLANE; s++) {
        int64_t address = mapped(op, args, s);
        if (address < 0 || address >= tape->words) return ADDRESS_RANGE;
        const byte *word = (const byte *)args[2] + address * LANES;
        memcpy((byte *)op->out + s * SUPERLANE, word + s * SUPERLANE, SUPERLANE);
    }
    return FINE;
}

/* n = 1: only look whether the addresses are good. */
INLINE int scatter(const Tape *tape, const Op *op, const uint64_t *args) {
    for (int s = 0; s < LANES / SUPERLANE; s++) {
        int64_t address = mapped(op, args, s);
        if (address < 0 || address >= tape->words) return ADDRESS_RANGE;
        if (op->n) continue;
        byte *word = (byte *)args[3] + address * LANES;
        memcpy(word + s * SUPERLANE, (const byte *)args[2] + s * SUPERLANE, SUPERLANE);
    }
    return FINE;
}

#endif
