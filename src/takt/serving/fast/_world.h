/* What changes: requests, replicas, and all there is of them. */

typedef struct {
    int64_t rank, arrival_ns, request;
} Key;

/* A request, in the world and at its replica: `reference.Job` and `scheduler.Ticket` in one. */
typedef struct Job {
    Request row;
    int64_t number; /* -1 where it is over */
    int64_t arrival_ns, generated, scheduled_ns, first_ns, cached_at_first, preemptions, version;
    Request *later; /* turns to come, of which the first is row number + 1 */
    int64_t n_later, later_at;
    int32_t replica, bound_for;
    int64_t bound_epoch;
    Key key;
    int64_t tokens, computed, target;
    int8_t reading, running, parked, has_cache;
    Held held;
    struct Job *next_spare;
} Job;

typedef struct {
    Job *job;
    int64_t new_tokens, cached;
    int32_t reading;
} Row;

LIST(Rows, Row);

enum Role { BOTH, PROMPT, DECODE };
enum Order { FCFS, PRIORITY, DEADLINE };
enum Router { ROUND_ROBIN, LEAST_LOADED, PREFIX_AWARE, DEADLINE_AWARE };
enum State { IS_OFF, IS_STARTING, IS_UP, IS_DRAINING, IS_DOWN };

typedef struct {
    int64_t replicas, role, send_ns, read_ns_per_token;
    int64_t max_seqs, max_step_tokens, max_chunk_tokens, n_blocks, block_tokens, prefixes, mixed, order, draft_tokens;
    int64_t scales, least, target_load, interval_ns, startup_ns, cooldown_ns;
    double send_ns_per_token;
    const int64_t *limits; /* of drafted tokens that hold */
    Table table;
    int64_t first, low_since_ns;
} Pool;

typedef struct {
    Pool *pool;
    int32_t number, state;
    int8_t busy, touched;
    int64_t epoch, expected, link_free_ns, on_since_ns;
    Cache cache;
    Jobs waiting, running, parked; /* waiting: a heap by key */
    Rows rows;                     /* of the step that runs */
    int64_t step_tokens, step_began_ns, step_ns, step_blocks;
    double step_joules;
    Sums sums;
} Replica;

typedef struct {
    int64_t priority, ttft_ns, max_waiting; /* ttft_ns 0: none */
} Tier;

LIST(FinishedRows, Finished);
LIST(EventRows, Event);
LIST(Numbers, int32_t);

typedef struct World {
    Pool *pools;
    Replica *replicas;
    const Tier *tiers;
    int64_t n_pools, n_replicas, n_tiers, router, imbalance, concurrency, sample_ns, entry_ns;
    uint64_t seed;
    Heap heap;
    int64_t now_ns, sequence;
    /* the source: `rows` from row `at` on, numbered from `number`; `more` fetches others */
    const Request *rows;
    int64_t n_rows, at, number;
    int (*more)(struct World *);
    int64_t inside, n_jobs, /* inside: conversations let in and not over */
         turn, arrived, done, rejected, start_ns;
    Job *spare_jobs;
    Jobs blocks_of_jobs; /* as they were allocated, JOBS_AT_ONCE each */
    Jobs unrouted, unsent, scratch;
    Numbers touched;
    FinishedRows finished;
    EventRows events;
    int wants_events, law; /* law: number of a broken one */
    int out_of_memory;
} World;

#define JOBS_AT_ONCE 256

static void log_event(World *w, int kind, const Job *job, const Replica *replica, int64_t a, int64_t b, int64_t c,
                      int64_t d) {
    if (!w->wants_events) return;
    if (!grow((void **)&w->events.items, w->events.count, &w->events.room, sizeof(Event))) {
        w->out_of_memory = 1;
        return;
    }
    w->events.items[w->events.count++] = (Event){
        w->now_ns, job ? job->number : NOBODY, kind, replica ? replica->number : NOBODY, a, b, c, d};
}

static void schedule(World *w, int64_t time_ns, int what, Replica *replica, Job *job) {
    Coming coming = {.time_ns = time_ns, .sequence = w->sequence++, .what = what, .job = job};
    coming.replica = replica ? replica->number : NOBODY;
    coming.request = job ? job->number : NOBODY;
    coming.version = job ? job->version : replica ? replica->epoch : 0;
    if (time_ns < w->now_ns) w->law = 26;
    if (!heap_push(&w->heap, coming)) w->out_of_memory = 1;
}

static void touch(World *w, Replica *replica) {
    if (replica->touched) return;
    replica->touched = 1;
    if (!grow((void **)&w->touched.items, w->touched.count, &w->touched.room, sizeof(int32_t))) {
        w->out_of_memory = 1;
        return;
    }
    w->touched.items[w->touched.count++] = replica->number;
}

static void keep(World *w, Jobs *list, Job *job) {
    if (!push_job(list, job)) w->out_of_memory = 1;
}

static Job *new_job(World *w) {
    if (!w->spare_jobs) {
        Job *jobs = calloc(JOBS_AT_ONCE, sizeof(Job));
        if (!jobs || !push_job(&w->blocks_of_jobs, jobs)) {
            free(jobs);
            w->out_of_memory = 1;
            return NULL;
        }
        for (int i = 0; i < JOBS_AT_ONCE; i++) {
            jobs[i].number = NOBODY;
            jobs[i].next_spare = w->spare_jobs;
            w->spare_jobs = jobs + i;
        }
    }
    Job *job = w->spare_jobs;
    w->spare_jobs = job->next_spare;
    int64_t version = job->version;
    memset(job, 0, sizeof(*job));
    job->version = version;
    job->scheduled_ns = job->first_ns = job->cached_at_first = -1;
    job->replica = job->bound_for = NOBODY;
    return job;
}

/* What is still scheduled for it is void from now on. */
static void drop_job(World *w, Job *job) {
    free(job->later);
    job->later = NULL;
    job->number = NOBODY;
    job->version++;
    job->replica = NOBODY;
    job->next_spare = w->spare_jobs;
    w->spare_jobs = job;
}

static int64_t load_of(const Replica *replica) {
    return replica->waiting.count + replica->running.count + replica->expected;
}

static int key_before(const Key *x, const Key *y) {
    if (x->rank != y->rank) return x->rank < y->rank;
    if (x->arrival_ns != y->arrival_ns) return x->arrival_ns < y->arrival_ns;
    return x->request < y->request;
}
