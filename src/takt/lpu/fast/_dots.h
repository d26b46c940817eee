/* Dot products of columns of a tile with activations, in doubles. Included once for each kind of processor, with
   NAME(x), TARGET, and TAKT_AVX512 (perhaps with TAKT_VBMI), TAKT_AVX2 or none of them defined.

   A column of f16 weights is two rows of bytes, as they lie in memory. Only the blocks of 32 lanes listed in `blocks` are
   multiplied; `x` holds the activations of those blocks, one after the other. Every product of two f16 is exact in a
   double; the order of the additions differs from one variant to the next, which the caller's error bound allows for. */

#if defined(TAKT_AVX512)
typedef __m512d NAME(Vec);
#define WIDTH 8
#define LOAD(p) _mm512_loadu_pd(p)
#define STORE(p, v) _mm512_storeu_pd(p, v)
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define ZERO() _mm512_setzero_pd()
#define TOTAL(v) _mm512_reduce_add_pd(v)
#if defined(TAKT_VBMI)
/* An f16 pattern, its magnitude shifted to the top of a double's mantissa and its sign to the sign, is that f16 times
   2⁻¹⁰⁰⁸, subnormals included: three cheap instructions instead of two conversions. Activations carry X_SCALE. */
#define WEIGHTS(w, low, high)                                                                      \
    do {                                                                                           \
        __m512i both_ = _mm512_inserti64x4(                                                        \
            _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(low))),                    \
            _mm256_loadu_si256((const __m256i *)(high)), 1);                                       \
        for (int v_ = 0; v_ < 4; v_++) {                                                           \
            __m512i top_ = _mm512_maskz_permutexvar_epi8(0xc0c0c0c0c0c0c0c0u,                      \
                                                         _mm512_loadu_si512(top_bytes[v_]), both_); \
            (w)[v_] = _mm512_castsi512_pd(_mm512_and_si512(                                        \
                _mm512_srai_epi64(top_, 6), _mm512_set1_epi64((long long)0x81ffffffffffffffu)));   \
        }                                                                                          \
    } while (0)
#else
/* The weights of one block, in the order of their lanes. */
#define WEIGHTS(w, low, high)                                                                      \
    do {                                                                                           \
        __m256i lo_ = _mm256_loadu_si256((const __m256i *)(low));                                  \
        __m256i hi_ = _mm256_loadu_si256((const __m256i *)(high));                                 \
        __m512 a_ = _mm512_cvtph_ps(_mm256_unpacklo_epi8(lo_, hi_)); /* lanes 0-7, 16-23 */        \
        __m512 b_ = _mm512_cvtph_ps(_mm256_unpackhi_epi8(lo_, hi_)); /* lanes 8-15, 24-31 */       \
        (w)[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(a_));                                      \
        (w)[1] = _mm512_cvtps_pd(_mm512_castps512_ps256(b_));                                      \
        (w)[2] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a_, 1));                                   \
        (w)[3] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(b_, 1));                                   \
    } while (0)
#endif
#elif defined(TAKT_AVX2)
typedef __m256d NAME(Vec);
#define WIDTH 4
#define LOAD(p) _mm256_loadu_pd(p)
#define STORE(p, v) _mm256_storeu_pd(p, v)
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define ZERO() _mm256_setzero_pd()
static inline TARGET double NAME(total)(__m256d v) {
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
#define TOTAL(v) NAME(total)(v)
#define WEIGHTS(w, low, high)                                                                      \
    do {                                                                                           \
        for (int h_ = 0; h_ < 2; h_++) {                                                           \
            __m128i lo_ = _mm_loadu_si128((const __m128i *)((low) + 16 * h_));                     \
            __m128i hi_ = _mm_loadu_si128((const __m128i *)((high) + 16 * h_));                    \
            __m256 a_ = _mm256_cvtph_ps(_mm_unpacklo_epi8(lo_, hi_));                              \
            __m256 b_ = _mm256_cvtph_ps(_mm_unpackhi_epi8(lo_, hi_));                              \
            (w)[4 * h_] = _mm256_cvtps_pd(_mm256_castps256_ps128(a_));                             \
            (w)[4 * h_ + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(a_, 1));                       \
            (w)[4 * h_ + 2] = _mm256_cvtps_pd(_mm256_castps256_ps128(b_));                         \
            (w)[4 * h_ + 3] = _mm256_cvtps_pd(_mm256_extractf128_ps(b_, 1));                       \
        }                                                                                          \
    } while (0)
#else
typedef double NAME(Vec) __attribute__((vector_size(16)));
#define WIDTH 2
static inline NAME(Vec) NAME(load)(const double *p) { NAME(Vec) v; memcpy(&v, p, sizeof v); return v; }
static inline void NAME(store)(double *p, NAME(Vec) v) { memcpy(p, &v, sizeof v); }
#define LOAD(p) NAME(load)(p)
#define STORE(p, v) NAME(store)(p, v)
#define FMA(a, b, c) ((a) * (b) + (c)) /* the product is exact, so one rounding or two are the same */
#define ZERO() ((NAME(Vec)){0.0, 0.0})
#define TOTAL(v) ((v)[0] + (v)[1])
static inline void NAME(weights)(NAME(Vec) *w, const byte *low, const byte *high) {
    float lanes[BLOCK];
    for (int l = 0; l < BLOCK; l++) lanes[l] = from_f16((uint32_t)low[l] | (uint32_t)high[l] << 8);
    for (int i = 0; i < BLOCK / 2; i++) w[i] = (NAME(Vec)){lanes[2 * i], lanes[2 * i + 1]};
}
#define WEIGHTS(w, low, high) NAME(weights)(w, low, high)
#endif

#define PER_BLOCK (BLOCK / WIDTH)
#ifdef TAKT_VBMI
#define SUM_SCALE (0x1p1008 / X_SCALE)
#else
#define SUM_SCALE 1
#endif

/* Four columns times one activation vector. */
static TARGET void NAME(four_by_one)(const Group *group, const Job *job, double *sums) {
    NAME(Vec) total[4] = {ZERO(), ZERO(), ZERO(), ZERO()};
    for (int b = 0; b < job->n_blocks; b++) {
        const double *x = job->x + b * BLOCK;
        int lane = job->blocks[b];
        for (int c = 0; c < 4; c++) {
            NAME(Vec) w[PER_BLOCK];
            __builtin_prefetch(group->next_low[c] + lane);
            __builtin_prefetch(group->next_high[c] + lane);
            WEIGHTS(w, group->low[c] + lane, group->high[c] + lane);
            for (int i = 0; i < PER_BLOCK; i++) total[c] = FMA(w[i], LOAD(x + WIDTH * i), total[c]);
        }
    }
    for (int c = 0; c < 4; c++) sums[c] = TOTAL(total[c]);
}

/* Four columns, already doubles, times `rows` (1 to 4) activation vectors; x and w rows are `LANES` apart. */
static inline __attribute__((always_inline)) TARGET void
NAME(tile)(const double *w, const double *x, int length, int rows, double *sums) {
    NAME(Vec) total[4][4];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 4; c++) total[r][c] = ZERO();
    for (int k = 0; k < length; k += WIDTH) {
        NAME(Vec) v[4];
        for (int c = 0; c < 4; c++) v[c] = LOAD(w + c * LANES + k);
        for (int r = 0; r < rows; r++) {
            NAME(Vec) a = LOAD(x + r * LANES + k);
            for (int c = 0; c < 4; c++) total[r][c] = FMA(a, v[c], total[r][c]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 4; c++) sums[4 * r + c] = TOTAL(total[r][c]);
}

/* Four columns times all activation vectors of the job; sums[4·row + column]. */
static TARGET void NAME(four)(const Group *group, const Job *job, double *sums) {
    double w[4 * LANES];
    int length = job->n_blocks * BLOCK, row = 0;
    if (job->rows == 1) {
        NAME(four_by_one)(group, job, sums);
        return;
    }
    for (int c = 0; c < 4; c++)
        for (int b = 0; b < job->n_blocks; b++) {
            NAME(Vec) v[PER_BLOCK];
            int lane = job->blocks[b];
            __builtin_prefetch(group->next_low[c] + lane);
            __builtin_prefetch(group->next_high[c] + lane);
            WEIGHTS(v, group->low[c] + lane, group->high[c] + lane);
            for (int i = 0; i < PER_BLOCK; i++) STORE(w + c * LANES + b * BLOCK + WIDTH * i, v[i]);
        }
    for (; row + 4 <= job->rows; row += 4) NAME(tile)(w, job->x + row * LANES, length, 4, sums + 4 * row);
    if (row + 2 <= job->rows) {
        NAME(tile)(w, job->x + row * LANES, length, 2, sums + 4 * row);
        row += 2;
    }
    if (row < job->rows) NAME(tile)(w, job->x + row * LANES, length, 1, sums + 4 * row);
}

static TARGET void NAME(columns_f16)(const Job *job, int first, int end, uint32_t *out) {
    double sums[4 * MAX_ROWS];
    int depth = job->n_blocks * PER_BLOCK + WIDTH + 8;
    for (int i = first; i < end; i += 4) {
        Group group;
        double bounds[4];
        for (int c = 0; c < 4; c++) {
            const Column *column = job->columns + (i + c < end ? i + c : end - 1);
            const Column *next = job->columns + (i + c + 4 < job->n_columns ? i + c + 4 : job->n_columns - 1);
            group.low[c] = (const byte *)column->low, group.high[c] = (const byte *)column->high;
            group.next_low[c] = (const byte *)next->low, group.next_high[c] = (const byte *)next->high;
            bounds[c] = bound_of(column);
        }
        NAME(four)(&group, job, sums);
        for (int c = 0; c < 4 && i + c < end; c++)
            for (int row = 0; row < job->rows; row++) {
                const Column *column = job->columns + i + c;
                out[row * LANES + column->n] = rounded(job, column, row, bounds[c], sums[4 * row + c] * SUM_SCALE, depth);
            }
    }
}

#ifndef TAKT_VBMI
/* i8: sums of products in i32, any order is exact. */
INLINE int32_t NAME(dot_i8)(const byte *restrict w, const int16_t *restrict x) {
    int32_t sum = 0;
    EACH_LANE sum += (int32_t)(int16_t)(int8_t)w[l] * (int32_t)x[l];
    return sum;
}

static TARGET void NAME(columns_i8)(const Job *job, int first, int end, uint32_t *out) {
    for (int i = first; i < end; i++)
        for (int row = 0; row < job->rows; row++) {
            const Column *column = job->columns + i;
            out[row * LANES + column->n] =
                (uint32_t)NAME(dot_i8)((const byte *)column->low, job->x8 + row * LANES);
        }
}
#endif

#undef WIDTH
#undef LOAD
#undef STORE
#undef FMA
#undef ZERO
#undef TOTAL
#undef WEIGHTS
#undef PER_BLOCK
#undef SUM_SCALE
