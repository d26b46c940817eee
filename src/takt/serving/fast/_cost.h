/* What a step costs: StepTable.step of step_table.py, operation for operation. */

typedef struct {
    int64_t nx, ny;
    const double *x, *y, *values;
} Grid;

typedef struct {
    int64_t n_tokens, n_rows;
    const double *tokens_ns, *rows_ns, *floor_ns;
    Grid decode, mixed, prompt, alone, factor, watts;
    double prompt_w, idle_w;
    int64_t groups;
} Table;

static double counted(const double *values, int64_t n, int64_t count) { return values[count < n ? count : n - 1]; }

/* Index of the place at or before a value, and the share of the way to the next. */
static int64_t place(const double *axis, int64_t n, double value, double *share) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (value < axis[middle]) high = middle;
        else low = middle + 1;
    }
    *share = 0.0;
    if (low == 0) return 0;
    if (low >= n) return n - 1;
    *share = (value - axis[low - 1]) / (axis[low] - axis[low - 1]);
    return low - 1;
}

static double grid_at(const Grid *grid, double x, double y) {
    double u, v;
    int64_t i = place(grid->x, grid->nx, x, &u), j = place(grid->y, grid->ny, y, &v);
    int64_t i1 = i + 1 < grid->nx ? i + 1 : grid->nx - 1, j1 = j + 1 < grid->ny ? j + 1 : grid->ny - 1;
    const double *at = grid->values + i * grid->ny, *beside = grid->values + i1 * grid->ny;
    double low = at[j] + (at[j1] - at[j]) * v;
    double high = beside[j] + (beside[j1] - beside[j]) * v;
    return low + (high - low) * u;
}

/* Whole nanoseconds, rounded up, at least one. */
static int64_t rounded_up(double time_ns) {
    int64_t whole = (int64_t)time_ns;
    if ((double)whole < time_ns) whole++;
    return whole < 1 ? 1 : whole;
}

/* What a step is made of, in sums over its rows. */
typedef struct {
    int64_t users, context, drafted, chunks, new_tokens, longest;
    double reading, slowest;
} Load;

static void add_chunk(const Table *table, Load *load, int64_t new_tokens, int64_t cached) {
    double alone = grid_at(&table->alone, (double)new_tokens, (double)cached);
    load->chunks++;
    load->new_tokens += new_tokens;
    if (new_tokens > load->longest) load->longest = new_tokens;
    load->reading = load->reading + grid_at(&table->prompt, (double)new_tokens, (double)cached);
    if (alone > load->slowest) load->slowest = alone;
}

static int64_t step_cost(const Table *table, const Load *load, double *joules) {
    double mean = load->users ? (double)load->context / (double)load->users : 0.0;
    int64_t lanes = load->users ? 1 : table->groups; /* beside users chunks cost their average */
    int64_t longest = lanes * load->longest, rows = load->chunks ? lanes : 0;
    rows = load->users + (load->chunks > rows ? load->chunks : rows);
    double work = counted(table->tokens_ns, table->n_tokens,
                          load->drafted + (load->new_tokens > longest ? load->new_tokens : longest));
    work = work + counted(table->rows_ns, table->n_rows, rows);
    double generating = 0.0;
    if (load->users) {
        double attention = grid_at(load->chunks ? &table->mixed : &table->decode, (double)load->users, mean);
        work = work + attention;
        generating = counted(table->tokens_ns, table->n_tokens, load->drafted) +
                     counted(table->rows_ns, table->n_rows, load->users);
        generating = generating + attention;
    }
    int64_t beside = load->users && load->chunks < table->groups ? load->chunks : table->groups;
    double slowest = (double)beside * load->slowest;
    work = work + (slowest > load->reading ? slowest : load->reading);
    double share;
    int64_t i = place(table->decode.y, table->decode.ny, mean, &share);
    int64_t j = i + 1 < table->decode.ny ? i + 1 : table->decode.ny - 1;
    double floor_ns = table->floor_ns[i] + (table->floor_ns[j] - table->floor_ns[i]) * share;
    if (generating > work) generating = work;
    double busy = work;
    if (work < floor_ns) work = floor_ns;
    int64_t time_ns = rounded_up(work * grid_at(&table->factor, (double)load->users, mean));
    double watts = load->users ? grid_at(&table->watts, (double)load->users, mean) : 0.0;
    double drawn = watts * generating + table->prompt_w * (busy - generating);
    drawn = drawn + table->idle_w * (work - busy);
    *joules = work > 0 ? drawn / work * ((double)time_ns * 1e-9) : 0.0;
    return time_ns;
}
