/* What one replica does next: scheduler.py, rule for rule. */

static void end_job(World *w, Job *job, Replica *replica, int fate);

static void add_waiting(World *w, Replica *r, Job *job) {
    if (!push_job(&r->waiting, job)) {
        w->out_of_memory = 1;
        return;
    }
    Job **heap = r->waiting.items;
    int64_t i = r->waiting.count - 1;
    while (i > 0 && key_before(&job->key, &heap[(i - 1) / 2]->key)) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = job;
}

static Job *pop_waiting(Replica *r) {
    Job **heap = r->waiting.items, *first = heap[0], *last = heap[--r->waiting.count];
    int64_t i = 0, n = r->waiting.count;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && key_before(&heap[child + 1]->key, &heap[child]->key)) child++;
        if (!key_before(&heap[child]->key, &last->key)) break;
        heap[i] = heap[child];
        i = child;
    }
    if (n) heap[i] = last;
    return first;
}

static void leave(Replica *r, Job *job) {
    remove_job(&r->running, job);
    job->running = 0;
}

static void let_go(World *w, Replica *r, Job *job, int64_t kept) {
    if (!release(&r->cache, &job->held, &job->row, kept)) w->out_of_memory = 1;
}

/* All blocks of a request that does not come back. A session below NOBODY is its own, and ends with it. */
static void give_back(World *w, Replica *r, Job *job) {
    int is_private = job->row.session < 0;
    int holds = job->held.own || job->held.group_blocks || job->held.session_blocks;
    let_go(w, r, job, holds && !is_private ? job->computed : 0);
    if (is_private) drop_text(&r->cache, &job->row);
}

/* Tokens of a prompt that are read in one step. */
static int64_t chunk_of(const Pool *pool, int64_t unread, int64_t left) {
    if (pool->max_chunk_tokens && pool->max_chunk_tokens < left) left = pool->max_chunk_tokens;
    return unread < left ? unread : left;
}

static int64_t backlog_tokens(const Replica *r) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < r->waiting.count; i++) tokens += r->waiting.items[i]->tokens - r->waiting.items[i]->computed;
    for (int64_t i = 0; i < r->running.count; i++) tokens += r->running.items[i]->tokens - r->running.items[i]->computed;
    return tokens;
}

static void add_row(World *w, Replica *r, Job *job, int64_t new_tokens) {
    if (!grow((void **)&r->rows.items, r->rows.count, &r->rows.room, sizeof(Row))) {
        w->out_of_memory = 1;
        return;
    }
    r->rows.items[r->rows.count++] = (Row){job, new_tokens, job->computed, job->reading};
    r->step_tokens += new_tokens;
}

static void preempt(World *w, Replica *r, Job *job) {
    Rows *rows = &r->rows;
    for (int64_t i = 0; i < rows->count; i++)
        if (rows->items[i].job == job) {
            r->step_tokens -= rows->items[i].new_tokens;
            memmove(rows->items + i, rows->items + i + 1, (size_t)(rows->count - i - 1) * sizeof(Row));
            rows->count--;
            break;
        }
    log_event(w, PREEMPT, job, r, job->computed, 0, 0, 0);
    job->preemptions++;
    r->sums.preemptions++;
    leave(r, job);
    let_go(w, r, job, job->computed); /* until someone takes them its blocks are there to be found again */
    job->computed = 0;
    job->has_cache = job->reading = 0;
    add_waiting(w, r, job);
}

static void give_up(World *w, Replica *r, Job *job) {
    if (job->running) leave(r, job);
    give_back(w, r, job);
    end_job(w, job, r, TOO_LONG);
}

/* What an attempt at a step did beside filling rows. */
enum { PREEMPTED = 1, GAVE_UP = 2 };

static int make_room(World *w, Replica *r, Job *job, int64_t new_tokens, int *done) {
    Cache *cache = &r->cache;
    Held *held = &job->held;
    int64_t need = blocks_of(cache, job->computed + new_tokens);
    int64_t have = held->own + held->group_blocks + held->session_blocks;
    if (need <= have) return 1;
    if (need > cache->n_blocks) {
        *done |= GAVE_UP;
        give_up(w, r, job);
        return 0;
    }
    while (need - have > available(cache)) {
        Job *victim = r->running.items[0];
        for (int64_t i = 1; i < r->running.count; i++)
            if (key_before(&victim->key, &r->running.items[i]->key)) victim = r->running.items[i];
        *done |= PREEMPTED;
        preempt(w, r, victim);
        if (victim == job) return 0;
    }
    take(cache, held, need - have);
    return 1;
}

/* A token and its drafts, of these no more than the cache has places for. */
static int64_t drafting(const Replica *r, const Job *job) {
    int64_t room = r->cache.n_blocks * r->cache.block_tokens - job->computed, wanted = 1 + r->pool->draft_tokens;
    if (wanted > room) wanted = room;
    return wanted > 1 ? wanted : 1;
}

/* The next tokens of requests that run. */
static void continue_running(World *w, Replica *r, int reading_only, int *done) {
    const Pool *pool = r->pool;
    w->scratch.count = 0;
    for (int64_t i = 0; i < r->running.count; i++) keep(w, &w->scratch, r->running.items[i]);
    for (int64_t i = 0; i < w->scratch.count; i++) {
        Job *job = w->scratch.items[i];
        if (!job->running || (reading_only && !job->reading)) continue;
        int64_t left = pool->max_step_tokens - r->step_tokens, wanted;
        if (job->reading) wanted = chunk_of(pool, job->target - job->computed, left);
        else if ((wanted = drafting(r, job)) > left) wanted = 0;
        if (wanted && make_room(w, r, job, wanted, done)) add_row(w, r, job, wanted);
    }
}

static void enter(World *w, Replica *r, Job *job, int64_t cached) {
    pop_waiting(r);
    job->computed = cached;
    job->running = 1;
    keep(w, &r->running, job);
    log_event(w, ADMIT, job, r, cached, job->tokens - cached, 0, 0);
    if (job->scheduled_ns < 0) {
        job->scheduled_ns = w->now_ns;
        job->cached_at_first = cached;
    }
    if (!job->has_cache) r->sums.cached_tokens += cached;
}

static int admit_cached(World *w, Replica *r, Job *job, int64_t left) {
    int64_t wanted = drafting(r, job), need = blocks_of(&r->cache, job->computed + wanted);
    if (need > available(&r->cache) || (r->pool->mixed && wanted > left)) return 0;
    enter(w, r, job, job->computed);
    take(&r->cache, &job->held, need);
    if (r->pool->mixed) add_row(w, r, job, wanted);
    return 1;
}

static int admit_reading(World *w, Replica *r, Job *job, int64_t left) {
    Cache *cache = &r->cache;
    int64_t group, session;
    found(cache, &job->row, job->tokens - 1, &group, &session);
    if (!fits(cache, &job->row, job->tokens, group, session)) group = session = 0;
    int64_t blocks = group + session;
    if (cache->prefixes) {
        int64_t seen = job->row.seen_tokens < job->tokens - 1 ? job->row.seen_tokens : job->tokens - 1;
        if (whole_blocks(cache, seen) > blocks) blocks = whole_blocks(cache, seen);
    }
    int64_t cached = blocks * cache->block_tokens;
    int64_t wanted = chunk_of(r->pool, job->tokens - cached, left);
    /* Only a chunk is taken, but the whole text must fit: it would be in others' way half read. */
    int64_t whole = blocks_of(cache, job->tokens) - group - session;
    if (wanted < 1 || whole > takeable(cache, &job->row, group, session)) return 0;
    job->reading = 1;
    job->target = job->tokens;
    enter(w, r, job, cached);
    read_chains(cache, &job->held, &job->row, group, session);
    take(cache, &job->held, blocks_of(cache, cached + wanted) - group - session);
    add_row(w, r, job, wanted);
    return 1;
}

/* Requests from the queue in its order, until the first that does not fit. */
static void admit(World *w, Replica *r, int *done) {
    while (r->waiting.count && r->running.count < r->pool->max_seqs && !w->out_of_memory) {
        Job *job = r->waiting.items[0];
        if (blocks_of(&r->cache, job->tokens) > r->cache.n_blocks) {
            pop_waiting(r);
            *done |= GAVE_UP;
            give_up(w, r, job);
            continue;
        }
        int64_t left = r->pool->max_step_tokens - r->step_tokens;
        if (!(job->has_cache ? admit_cached(w, r, job, left) : admit_reading(w, r, job, left))) return;
    }
}

/* Fills `rows`; none where there is nothing to do, or nothing fits until something is given back. */
static void next_step(World *w, Replica *r) {
    int done;
    do {
        done = 0;
        r->rows.count = r->step_tokens = 0;
        continue_running(w, r, !r->pool->mixed, &done);
        if (!(done & PREEMPTED)) admit(w, r, &done);
        if (!r->pool->mixed && !r->rows.count) continue_running(w, r, 0, &done);
        /* Those who made room are in the queue again, and may fit now that nobody else is served. */
    } while (!r->rows.count && done && !w->out_of_memory);
}
