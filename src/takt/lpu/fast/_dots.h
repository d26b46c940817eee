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

#ifdef TAKT_AVX512
/* Eight columns at a time, their sums in one vector; of the activations as many as leave registers for the rest. */
#define COLS 8
#define AT_ONCE 3
static inline __attribute__((always_inline)) TARGET __m512d NAME(totals)(const __m512d *v) {
    __m512d pair[4], four[2];
    for (int i = 0; i < 4; i++)
        pair[i] = _mm512_add_pd(_mm512_unpacklo_pd(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_pd(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        four[i] = _mm512_add_pd(_mm512_shuffle_f64x2(pair[2 * i], pair[2 * i + 1], 0x88),
                                _mm512_shuffle_f64x2(pair[2 * i], pair[2 * i + 1], 0xdd));
    return _mm512_add_pd(_mm512_shuffle_f64x2(four[0], four[1], 0x88), _mm512_shuffle_f64x2(four[0], four[1], 0xdd));
}
#define TOTALS(sums, v) _mm512_storeu_pd(sums, NAME(totals)(v))
#else
#define COLS 4
#define AT_ONCE 4
#define TOTALS(sums, v)                                                                            \
    do {                                                                                           \
        for (int t_ = 0; t_ < COLS; t_++) (sums)[t_] = TOTAL((v)[t_]);                             \
    } while (0)
#endif

/* COLS columns times one activation vector. */
static TARGET void NAME(some_by_one)(const Group *group, const Job *job, double *sums) {
    NAME(Vec) total[COLS];
    for (int c = 0; c < COLS; c++) total[c] = ZERO();
    for (int b = 0; b < job->n_blocks; b++) {
        const double *x = job->x + b * BLOCK;
        int lane = job->blocks[b];
        for (int c = 0; c < COLS; c++) {
            NAME(Vec) w[PER_BLOCK];
            FETCH(group->next_low[c] + lane);
            FETCH(group->next_high[c] + lane);
            WEIGHTS(w, group->low[c] + lane, group->high[c] + lane);
            for (int i = 0; i < PER_BLOCK; i++) total[c] = FMA(w[i], LOAD(x + WIDTH * i), total[c]);
        }
    }
    TOTALS(sums, total);
}

/* COLS columns, already doubles, times `rows` (1 to AT_ONCE) activation vectors; x and w rows are `LANES` apart. */
static inline __attribute__((always_inline)) TARGET void
NAME(tile)(const double *w, const double *x, int length, int rows, double *sums) {
    NAME(Vec) total[AT_ONCE][COLS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < COLS; c++) total[r][c] = ZERO();
    for (int k = 0; k < length; k += WIDTH) {
        NAME(Vec) a[AT_ONCE];
        for (int r = 0; r < rows; r++) a[r] = LOAD(x + r * LANES + k);
        for (int c = 0; c < COLS; c++) {
            NAME(Vec) v = LOAD(w + c * LANES + k);
            for (int r = 0; r < rows; r++) total[r][c] = FMA(a[r], v, total[r][c]);
        }
    }
    for (int r = 0; r < rows; r++) TOTALS(sums + COLS * r, total[r]);
}

/* COLS columns times all activation vectors of the job; sums[COLS · row + column]. */
static TARGET void NAME(some)(const Group *group, const Job *job, double *sums) {
    double w[COLS * LANES];
    int length = job->n_blocks * BLOCK, row = 0;
    if (job->rows == 1) {
        NAME(some_by_one)(group, job, sums);
        return;
    }
    for (int c = 0; c < COLS; c++)
        for (int b = 0; b < job->n_blocks; b++) {
            NAME(Vec) v[PER_BLOCK];
            int lane = job->blocks[b];
            FETCH(group->next_low[c] + lane);
            FETCH(group->next_high[c] + lane);
            WEIGHTS(v, group->low[c] + lane, group->high[c] + lane);
            for (int i = 0; i < PER_BLOCK; i++) STORE(w + c * LANES + b * BLOCK + WIDTH * i, v[i]);
        }
    for (; row + AT_ONCE <= job->rows; row += AT_ONCE)
        NAME(tile)(w, job->x + row * LANES, length, AT_ONCE, sums + COLS * row);
    if (row + 2 <= job->rows) {
        NAME(tile)(w, job->x + row * LANES, length, 2, sums + COLS * row);
        row += 2;
    }
    if (row < job->rows) NAME(tile)(w, job->x + row * LANES, length, 1, sums + COLS * row);
}

/* Round the sums of up to COLS columns and one row to their places in `out`. */
static inline __attribute__((always_inline)) TARGET void
NAME(settle)(const Job *job, const Column *columns, int n, int row, const double *bounds, const double *sums,
             int depth, uint32_t *out) {
    unsigned certain = 0;
    uint32_t value[COLS];
#ifdef TAKT_AVX512
    __m512d sum = _mm512_mul_pd(_mm512_loadu_pd(sums), _mm512_set1_pd(SUM_SCALE));
    __m512d error = _mm512_mul_pd(_mm512_set1_pd(depth * 0x1p-53 * job->magnitude[row]), _mm512_loadu_pd(bounds));
    __m256 below = _mm512_cvtpd_ps(_mm512_sub_pd(sum, error)), above = _mm512_cvtpd_ps(_mm512_add_pd(sum, error));
    certain = _mm256_cmp_ps_mask(below, above, _CMP_EQ_OQ); /* never where something is inf or NaN: the error is */
    _mm256_storeu_ps((float *)value, above);
#endif
    for (int c = 0; c < n; c++)
        out[columns[c].n] = certain >> c & 1
                                ? value[c]
                                : rounded(job, columns + c, row, bounds[c], sums[c] * SUM_SCALE, depth);
}

static TARGET void NAME(columns_f16)(const Job *job, int first, int end, uint32_t *out) {
    double sums[COLS * MAX_ROWS];
    int depth = job->n_blocks * PER_BLOCK + WIDTH + 8;
    for (int i = first; i < end; i += COLS) {
        Group group;
        double bounds[COLS];
        for (int c = 0; c < COLS; c++) {
            const Column *column = job->columns + (i + c < end ? i + c : end - 1);
            const Column *next = job->columns + (i + c + COLS < job->n_columns ? i + c + COLS : job->n_columns - 1);
            group.low[c] = (const byte *)column->low, group.high[c] = (const byte *)column->high;
            group.next_low[c] = (const byte *)next->low, group.next_high[c] = (const byte *)next->high;
            bounds[c] = column->top != UNKNOWN ? column->bound : bound_of(column);
        }
        NAME(some)(&group, job, sums);
        for (int row = 0; row < job->rows; row++)
            NAME(settle)(job, job->columns + i, end - i < COLS ? end - i : COLS, row, bounds, sums + COLS * row, depth,
                         out + row * LANES);
    }
}

#ifdef TAKT_VBMI
/* i8, with the instruction that sums products of unsigned and signed bytes by fours: activations come with 128 added,
   and 128 times the column is taken off again. Only the blocks of 64 lanes listed in `blocks8` are multiplied. */
static inline __attribute__((always_inline)) TARGET __m128i NAME(four_totals)(const __m512i *v) {
    __m512i two = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i last = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(two, last), _mm512_unpackhi_epi64(two, last));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Four columns times all activation vectors, from `n_blocks` blocks. */
static inline __attribute__((always_inline)) TARGET void
NAME(four_i8)(const Job *job, const Column *const *column, int n, int n_blocks, uint32_t *out) {
    __m512i excess[4];
    for (int c = 0; c < 4; c++) {
        excess[c] = _mm512_setzero_si512();
        for (int b = 0; b < n_blocks; b++)
            excess[c] = _mm512_dpbusd_epi32(excess[c], _mm512_set1_epi8((char)128),
                                            _mm512_loadu_si512((const byte *)column[c]->low + job->blocks8[b]));
    }
    for (int row = 0; row < job->rows; row++) {
        __m512i total[4];
        uint32_t sums[4];
        for (int c = 0; c < 4; c++) total[c] = _mm512_setzero_si512();
        for (int b = 0; b < n_blocks; b++) {
            __m512i x = _mm512_loadu_si512(job->unsigned8 + row * LANES + job->blocks8[b]);
            for (int c = 0; c < 4; c++)
                total[c] = _mm512_dpbusd_epi32(total[c], x,
                                               _mm512_loadu_si512((const byte *)column[c]->low + job->blocks8[b]));
        }
        for (int c = 0; c < 4; c++) total[c] = _mm512_sub_epi32(total[c], excess[c]);
        _mm_storeu_si128((__m128i *)sums, NAME(four_totals)(total));
        for (int c = 0; c < n; c++) out[row * LANES + column[c]->n] = sums[c];
    }
}

static TARGET void NAME(columns_i8)(const Job *job, int first, int end, uint32_t *out) {
    for (int i = first; i < end; i += 4) {
        const Column *column[4];
        for (int c = 0; c < 4; c++) {
            column[c] = job->columns + (i + c < end ? i + c : end - 1);
            const Column *next = job->columns + (i + c + AHEAD < job->n_columns ? i + c + AHEAD : job->n_columns - 1);
            for (int lane = 0; lane < LANES; lane += 64) FETCH((const byte *)next->low + lane);
        }
        if (job->n_blocks8 == LANES / 64) NAME(four_i8)(job, column, end - i < 4 ? end - i : 4, LANES / 64, out);
        else NAME(four_i8)(job, column, end - i < 4 ? end - i : 4, job->n_blocks8, out);
    }
}
#else
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
#undef COLS
#undef AT_ONCE
#undef TOTALS
#undef SUM_SCALE
