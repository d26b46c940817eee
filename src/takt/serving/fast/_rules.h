/* What happens when: reference.py, rule for rule. */

static Replica *replica_at(World *w, int32_t number) { return number < 0 ? NULL : w->replicas + number; }

static int64_t due_ns(const World *w, const Job *job) {
    int64_t ttft_ns = w->tiers[job->row.tier].ttft_ns;
    return ttft_ns ? job->arrival_ns + ttft_ns : NEVER_NS;
}

static Key key_of(const World *w, const Job *job, const Pool *pool) {
    int64_t rank = pool->order == PRIORITY ? w->tiers[job->row.tier].priority
                   : pool->order == DEADLINE ? due_ns(w, job)
                                             : 0;
    return (Key){rank, job->arrival_ns, job->number};
}

/* Routers: routers.py */

static Replica *least_loaded(World *w, int decodes) {
    Replica *best = NULL;
    for (Replica *r = w->replicas; r < w->replicas + w->n_replicas; r++)
        if (r->state == IS_UP && (r->pool->role == DECODE) == decodes && (!best || load_of(r) < load_of(best))) best = r;
    return best;
}

static Replica *next_in_turn(World *w) {
    for (int64_t i = 0; i < w->n_replicas; i++) {
        Replica *r = w->replicas + (w->turn + i) % w->n_replicas;
        if (r->state == IS_UP && r->pool->role != DECODE) return r;
    }
    return NULL;
}

static Replica *with_prefix(World *w, const Job *job) {
    Replica *idlest = least_loaded(w, 0), *best = NULL;
    int64_t most = -1;
    for (Replica *r = w->replicas; r < w->replicas + w->n_replicas; r++) {
        if (r->state != IS_UP || r->pool->role == DECODE) continue;
        int64_t group, session;
        found(&r->cache, &job->row, job->tokens - 1, &group, &session);
        if (group + session > most || (group + session == most && load_of(r) < load_of(best))) {
            best = r;
            most = group + session;
        }
    }
    return best && load_of(best) > load_of(idlest) + w->imbalance ? idlest : best;
}

static Replica *in_time(World *w, const Job *job) {
    Replica *best = NULL, *soonest = NULL;
    int64_t due = due_ns(w, job), least_ns = 0;
    for (Replica *r = w->replicas; r < w->replicas + w->n_replicas; r++) {
        if (r->state != IS_UP || r->pool->role == DECODE) continue;
        int64_t reading_ns = (backlog_tokens(r) + job->tokens) * r->pool->read_ns_per_token;
        if (!soonest || reading_ns < least_ns) {
            soonest = r;
            least_ns = reading_ns;
        }
        if (w->now_ns + reading_ns <= due && (!best || load_of(r) < load_of(best))) best = r;
    }
    return best ? best : soonest;
}

static Replica *choose(World *w, const Job *job) {
    switch (w->router) {
    case ROUND_ROBIN: return next_in_turn(w);
    case LEAST_LOADED: return least_loaded(w, 0);
    case PREFIX_AWARE: return with_prefix(w, job);
    default: return in_time(w, job);
    }
}

/* Requests come */

static void let_in(World *w, Job *job, int64_t arrival_ns) {
    w->inside++;
    if (w->start_ns < 0) { /* nothing is paid for before */
        w->start_ns = arrival_ns;
        for (int64_t i = 0; i < w->n_replicas; i++) w->replicas[i].on_since_ns = arrival_ns;
    }
    job->arrival_ns = arrival_ns;
    schedule(w, arrival_ns + w->entry_ns, TALK_ARRIVES, NULL, job);
}

/* The next conversation, its later turns with it; NULL at the end of the source. */
static Job *read_talk(World *w) {
    if (w->at >= w->n_rows && !w->more(w)) return NULL;
    Job *job = new_job(w);
    if (!job) return NULL;
    job->row = w->rows[w->at++];
    job->number = w->number++;
    int64_t room = 0;
    while (w->at < w->n_rows || w->more(w)) {
        const Request *row = w->rows + w->at;
        if (!row->turn) break;
        if (!grow((void **)&job->later, job->n_later, &room, sizeof(Request))) {
            w->out_of_memory = 1;
            break;
        }
        job->later[job->n_later++] = *row;
        w->at++;
        w->number++;
    }
    return job;
}

/* The next conversation of the source; under a limit as many as there are places, each from when there is one. */
static void read_source(World *w) {
    while (!w->concurrency || w->inside < w->concurrency) {
        Job *job = read_talk(w);
        if (!job) return;
        int64_t arrival_ns = job->row.arrival_ns;
        let_in(w, job, w->concurrency && w->now_ns > arrival_ns ? w->now_ns : arrival_ns);
        if (!w->concurrency) return;
    }
}

static void begin_ticket(Job *job) {
    if (job->row.session == NOBODY) job->row.session = NOBODY - 1 - job->number;
    job->tokens = job->row.prompt_tokens + job->generated;
    job->computed = job->target = 0;
    job->reading = job->running = job->parked = job->has_cache = 0;
    memset(&job->held, 0, sizeof(job->held));
}

static void route(World *w, Job *job) {
    begin_ticket(job);
    Replica *r = choose(w, job);
    if (!r) {
        keep(w, &w->unrouted, job);
        return;
    }
    w->turn = r->number + 1;
    int64_t most = w->tiers[job->row.tier].max_waiting;
    if (most && r->waiting.count >= most && !job->generated) {
        end_job(w, job, r, REJECTED);
        return;
    }
    log_event(w, ROUTE, job, r, load_of(r), 0, 0, 0);
    job->replica = r->number;
    job->key = key_of(w, job, r->pool);
    add_waiting(w, r, job);
    touch(w, r);
}

static void arrive(World *w, Job *job) {
    w->arrived++;
    w->n_jobs++;
    log_event(w, ARRIVE, job, NULL, job->row.prompt_tokens, 0, 0, 0);
    route(w, job);
}

static void next_turn(World *w, Job *before) {
    Job *job = new_job(w);
    if (!job) return;
    job->row = before->later[before->later_at];
    job->number = before->number + 1;
    job->later = before->later;
    job->n_later = before->n_later;
    job->later_at = before->later_at + 1;
    before->later = NULL;
    job->arrival_ns = w->now_ns + job->row.arrival_ns;
    schedule(w, job->arrival_ns + w->entry_ns, TURN_ARRIVES, NULL, job);
}

static void end_job(World *w, Job *job, Replica *r, int fate) {
    if (fate == DONE) {
        w->done++;
        log_event(w, FINISH, job, r, job->generated, 0, 0, 0);
    } else {
        w->rejected++;
        log_event(w, REJECT, job, r, fate, 0, 0, 0);
    }
    if (!grow((void **)&w->finished.items, w->finished.count, &w->finished.room, sizeof(Finished))) {
        w->out_of_memory = 1;
        return;
    }
    w->finished.items[w->finished.count++] = (Finished){
        job->number, job->arrival_ns, job->scheduled_ns, job->first_ns, w->now_ns, job->row.prompt_tokens,
        (int32_t)job->generated, (int32_t)(job->cached_at_first > 0 ? job->cached_at_first : 0), job->row.tier,
        r->number, (int32_t)job->preemptions, fate, job->row.turn};
    w->n_jobs--;
    if (job->later_at < job->n_later) next_turn(w, job);
    else {
        w->inside--;
        if (w->concurrency) read_source(w);
    }
    drop_job(w, job);
}

/* Steps */

static void begin_step(World *w, Replica *r) {
    next_step(w, r);
    if (!r->rows.count) return;
    const Table *table = &r->pool->table;
    Load load = {0};
    for (int64_t i = 0; i < r->rows.count; i++) {
        const Row *row = r->rows.items + i;
        if (row->reading) add_chunk(table, &load, row->new_tokens, row->cached);
        else {
            load.users++;
            load.context += row->cached;
        }
    }
    load.drafted = r->step_tokens - load.new_tokens;
    double joules;
    int64_t time_ns = step_cost(table, &load, &joules);
    int64_t blocks = r->cache.n_blocks - available(&r->cache);
    log_event(w, STEP, NULL, r, time_ns, load.users, load.new_tokens, blocks);
    r->sums.steps++;
    r->sums.read_tokens += load.new_tokens;
    if (blocks > r->sums.peak_blocks) r->sums.peak_blocks = blocks;
    r->step_began_ns = w->now_ns;
    r->step_ns = time_ns;
    r->step_blocks = blocks;
    r->step_joules = joules;
    r->busy = 1;
    schedule(w, w->now_ns + time_ns, STEP_ENDS, r, NULL);
}

static uint64_t mixed(uint64_t seed, uint64_t request, uint64_t generated) {
    uint64_t parts[3] = {seed, request, generated}, x = 0;
    for (int i = 0; i < 3; i++) {
        x = x + parts[i] + 0x9E3779B97F4A7C15u;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
        x ^= x >> 31;
    }
    return x;
}

static int64_t tokens_of(const World *w, const Replica *r, const Job *job, int64_t computed) {
    int64_t tokens = 1, left = job->row.output_tokens - job->generated;
    if (computed < left) left = computed;
    if (r->pool->draft_tokens) {
        int64_t drawn = (int64_t)(mixed(w->seed, (uint64_t)job->number, (uint64_t)job->generated) >> 11);
        for (int64_t i = 0; i < r->pool->draft_tokens; i++) tokens += drawn < r->pool->limits[i];
    }
    return tokens < left ? tokens : left;
}

static void send_cache(World *w, Job *job);

/* A step is over, or cut off by a failure: its time and energy until now count. */
static void account(const World *w, Replica *r) {
    if (!r->busy) return;
    r->busy = 0;
    int64_t busy_ns = w->now_ns - r->step_began_ns;
    r->sums.busy_ns += busy_ns;
    r->sums.block_ns += (double)r->step_blocks * (double)busy_ns;
    r->sums.energy_j += r->step_joules * ((double)busy_ns / (double)r->step_ns);
}

static void end_step(World *w, Replica *r) {
    account(w, r);
    touch(w, r);
    for (int64_t i = 0; i < r->rows.count && !w->out_of_memory; i++) {
        Row *row = r->rows.items + i;
        Job *job = row->job;
        int64_t tokens;
        if (row->reading) {
            tokens = row->cached + row->new_tokens == job->target;
            job->computed += row->new_tokens;
            if (tokens) {
                job->reading = 0;
                if (!publish_group(&r->cache, &job->held, &job->row)) w->out_of_memory = 1;
            }
        } else {
            tokens = tokens_of(w, r, job, row->new_tokens);
            job->computed += tokens;
        }
        job->tokens += tokens;
        if (!tokens) continue;
        job->generated += tokens;
        r->sums.generated_tokens += tokens;
        if (job->first_ns < 0) {
            job->first_ns = w->now_ns;
            log_event(w, FIRST, job, r, 0, 0, 0, 0);
        }
        if (job->generated >= job->row.output_tokens) {
            leave(r, job);
            give_back(w, r, job);
            end_job(w, job, r, DONE);
        } else if (r->pool->role == PROMPT) {
            leave(r, job);
            job->parked = 1;
            keep(w, &r->parked, job);
            send_cache(w, job);
        }
    }
}

/* Caches travel */

static void send_cache(World *w, Job *job) {
    Replica *source = replica_at(w, job->replica), *target = least_loaded(w, 1);
    if (!target) {
        keep(w, &w->unsent, job);
        return;
    }
    job->bound_for = target->number;
    job->bound_epoch = target->epoch;
    target->expected++;
    int64_t begin_ns = w->now_ns > source->link_free_ns ? w->now_ns : source->link_free_ns;
    source->link_free_ns = begin_ns + (int64_t)ceil((double)job->computed * source->pool->send_ns_per_token);
    int64_t there_ns = source->link_free_ns + source->pool->send_ns;
    source->sums.sent_tokens += job->computed;
    log_event(w, SEND, job, source, target->number, there_ns, 0, 0);
    schedule(w, there_ns, CACHE_ARRIVES, target, job);
}

static void lose(World *w, Job *job, Replica *r) {
    job->version++;
    job->replica = job->bound_for = NOBODY;
    remove_job(&w->unsent, job);
    log_event(w, LOSE, job, r, 0, 0, 0, 0);
    route(w, job);
}

static void receive(World *w, Job *job, Replica *target) {
    Replica *source = replica_at(w, job->replica);
    remove_job(&source->parked, job);
    give_back(w, source, job);
    touch(w, source);
    job->bound_for = NOBODY;
    if (target->epoch != job->bound_epoch) {
        lose(w, job, source);
        return;
    }
    target->expected--;
    log_event(w, RECEIVE, job, target, 0, 0, 0, 0);
    begin_ticket(job);
    job->has_cache = 1;
    job->computed = job->tokens - 1;
    job->key = key_of(w, job, target->pool);
    job->replica = target->number;
    add_waiting(w, target, job);
    touch(w, target);
}

/* Replicas come and go */

static void come_up(World *w, Replica *r) {
    r->state = IS_UP;
    touch(w, r);
    log_event(w, UP, NULL, r, 0, 0, 0, 0);
    Jobs *waiting = r->pool->role == DECODE ? &w->unsent : &w->unrouted, list = *waiting;
    memset(waiting, 0, sizeof(*waiting));
    for (int64_t i = 0; i < list.count; i++)
        if (r->pool->role == DECODE) send_cache(w, list.items[i]);
        else route(w, list.items[i]);
    free(list.items);
}

static void switch_off(World *w, Replica *r) {
    r->state = IS_OFF;
    r->sums.on_ns += w->now_ns - r->on_since_ns;
}

static int by_number(const void *x, const void *y) {
    const Job *a = *(Job *const *)x, *b = *(Job *const *)y;
    return (a->number > b->number) - (a->number < b->number);
}

static void forget(Replica *r) {
    Pool *pool = r->pool;
    cache_free(&r->cache);
    cache_init(&r->cache, pool->n_blocks, pool->block_tokens, (int)pool->prefixes);
    r->waiting.count = r->running.count = r->parked.count = r->rows.count = 0;
    r->busy = 0;
    r->epoch++;
    r->link_free_ns = 0;
    r->expected = 0;
}

static void fail(World *w, Replica *r, int64_t down_ns) {
    if (r->state != IS_UP && r->state != IS_DRAINING) return;
    log_event(w, FAIL, NULL, r, down_ns, 0, 0, 0);
    r->sums.failures++;
    Jobs victims = {0};
    const Jobs *lists[] = {&r->waiting, &r->running, &r->parked};
    for (int l = 0; l < 3; l++)
        for (int64_t i = 0; i < lists[l]->count; i++) keep(w, &victims, lists[l]->items[i]);
    if (victims.count) qsort(victims.items, (size_t)victims.count, sizeof(Job *), by_number);
    int was_up = r->state == IS_UP;
    account(w, r);
    forget(r);
    if (was_up) {
        r->state = IS_DOWN;
        schedule(w, w->now_ns + down_ns, COMING_UP, r, NULL);
    } else {
        switch_off(w, r);
        log_event(w, OFF, NULL, r, 0, 0, 0, 0);
    }
    for (int64_t i = 0; i < victims.count; i++) {
        Job *job = victims.items[i];
        Replica *target = replica_at(w, job->bound_for);
        if (target && target->epoch == job->bound_epoch) {
            target->expected--;
            touch(w, target);
        }
        lose(w, job, r);
    }
    free(victims.items);
}

static void scale(World *w, Pool *pool) {
    Replica *mine = w->replicas + pool->first, *end = mine + pool->replicas;
    int64_t load = pool->role == DECODE ? w->unsent.count : w->unrouted.count, there = 0;
    for (Replica *r = mine; r < end; r++) {
        load += load_of(r);
        there += r->state == IS_UP || r->state == IS_STARTING || r->state == IS_DOWN;
    }
    int64_t wanted = (load + pool->target_load - 1) / pool->target_load;
    if (wanted < pool->least) wanted = pool->least;
    if (wanted > pool->replicas) wanted = pool->replicas;
    if (wanted >= there) pool->low_since_ns = -1;
    else if (pool->low_since_ns < 0) pool->low_since_ns = w->now_ns;
    int64_t missing = wanted - there;
    for (Replica *r = mine; r < end && missing > 0; r++) {
        if (r->state != IS_OFF) continue;
        r->state = IS_STARTING;
        r->on_since_ns = w->now_ns;
        log_event(w, START, NULL, r, 0, 0, 0, 0);
        schedule(w, w->now_ns + pool->startup_ns, COMING_UP, r, NULL);
        missing--;
    }
    if (pool->low_since_ns < 0 || w->now_ns - pool->low_since_ns < pool->cooldown_ns) return;
    int64_t surplus = -wanted;
    for (Replica *r = mine; r < end; r++) surplus += r->state == IS_UP;
    for (Replica *r = end - 1; r >= mine && surplus > 0; r--) {
        if (r->state != IS_UP) continue;
        r->state = IS_DRAINING;
        touch(w, r);
        log_event(w, DRAIN, NULL, r, 0, 0, 0, 0);
        surplus--;
    }
    pool->low_since_ns = -1;
}

static void sample(World *w) {
    for (Replica *r = w->replicas; r < w->replicas + w->n_replicas; r++)
        log_event(w, SAMPLE, NULL, r, r->running.count, r->waiting.count, r->cache.n_blocks - available(&r->cache),
                  r->state == IS_UP);
}

/* The run */

static void happen(World *w, const Coming *coming) {
    Replica *r = replica_at(w, coming->replica);
    Job *job = coming->job;
    switch (coming->what) {
    case FAILING: fail(w, r, coming->request); break;
    case COMING_UP: come_up(w, r); break;
    case STEP_ENDS:
        if (r->epoch == coming->version) end_step(w, r);
        break;
    case CACHE_ARRIVES:
        if (job->number == coming->request && job->version == coming->version) receive(w, job, r);
        break;
    case TALK_ARRIVES:
        arrive(w, job);
        if (!w->concurrency) read_source(w);
        break;
    case TURN_ARRIVES: arrive(w, job); break;
    case SCALING: {
        Pool *pool = w->pools + coming->request;
        scale(w, pool);
        if (w->inside) {
            Coming again = *coming;
            again.time_ns = w->now_ns + pool->interval_ns;
            again.sequence = w->sequence++;
            if (!heap_push(&w->heap, again)) w->out_of_memory = 1;
        }
        break;
    }
    default:
        sample(w);
        if (w->inside) schedule(w, w->now_ns + w->sample_ns, SAMPLING, NULL, NULL);
    }
}

static int by_value(const void *x, const void *y) {
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* All that happens at the next time, then the steps that can begin. */
static void instant(World *w) {
    int64_t now_ns = w->heap.items[0].time_ns;
    while (w->heap.count && w->heap.items[0].time_ns == now_ns && !w->out_of_memory) {
        Coming coming = heap_pop(&w->heap);
        w->now_ns = coming.time_ns;
        happen(w, &coming);
    }
    if (w->touched.count > 1) qsort(w->touched.items, (size_t)w->touched.count, sizeof(int32_t), by_value);
    for (int64_t i = 0; i < w->touched.count && !w->out_of_memory; i++) {
        Replica *r = w->replicas + w->touched.items[i];
        r->touched = 0;
        if ((r->state == IS_UP || r->state == IS_DRAINING) && !r->busy && r->waiting.count + r->running.count)
            begin_step(w, r);
        if (r->state == IS_DRAINING && !load_of(r) && !r->parked.count && !r->busy) {
            switch_off(w, r);
            log_event(w, OFF, NULL, r, 0, 0, 0, 0);
        }
        const Cache *cache = &r->cache;
        if (cache->free + cache->own + cache->kept != cache->n_blocks || cache->free < 0) w->law = 25;
    }
    w->touched.count = 0;
}
