/* takt.serving.fast._engine: the event simulation of reference.py at native speed, one call for a whole run.

   Sizes and values in its arguments are trusted: `engine.py` has checked them. It asks Python for requests and hands records
   over in batches, so that a run of any length has its place in memory. Times are integers and float operations
   those of the slow engine in their order, without contraction: both write the same events. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_base.h"
#include "_cost.h"
#include "_blocks.h"
#include "_world.h"
#include "_schedule.h"
#include "_rules.h"

#define MOST_FINISHED 16384
#define MOST_EVENTS 65536
#define INSTANTS_PER_LOOK 65536

typedef struct {
    World world; /* first: `more` finds the rest by it */
    PyObject *source, *finished, *events;
    Py_buffer chunk;
    int has_chunk, source_ended, python_failed;
} Run;

static int more_requests(World *world) {
    Run *run = (Run *)world;
    while (!run->source_ended && !run->python_failed) {
        if (run->has_chunk) PyBuffer_Release(&run->chunk);
        run->has_chunk = 0;
        PyObject *rows = PyObject_CallNoArgs(run->source);
        if (!rows || rows == Py_None) {
            run->python_failed = !rows;
            run->source_ended = 1;
            Py_XDECREF(rows);
            return 0;
        }
        int bad = PyObject_GetBuffer(rows, &run->chunk, PyBUF_SIMPLE);
        Py_DECREF(rows);
        if (bad) {
            run->python_failed = 1;
            return 0;
        }
        run->has_chunk = 1;
        world->rows = run->chunk.buf;
        world->n_rows = run->chunk.len / (Py_ssize_t)sizeof(Request);
        world->at = 0;
        if (world->n_rows) return 1;
    }
    return 0;
}

static int hand_over(PyObject *sink, const void *items, int64_t count, size_t size) {
    if (!count) return 1;
    PyObject *bytes = PyBytes_FromStringAndSize(items, (Py_ssize_t)((size_t)count * size));
    PyObject *done = bytes ? PyObject_CallFunctionObjArgs(sink, bytes, NULL) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(done);
    return done != NULL;
}

static int flush(Run *run, int64_t most_finished, int64_t most_events) {
    World *w = &run->world;
    if (w->finished.count > most_finished) {
        if (!hand_over(run->finished, w->finished.items, w->finished.count, sizeof(Finished))) return 0;
        w->finished.count = 0;
    }
    if (w->events.count > most_events) {
        if (!hand_over(run->events, w->events.items, w->events.count, sizeof(Event))) return 0;
        w->events.count = 0;
    }
    return 1;
}

static Grid grid_from(const double **at, int64_t nx, int64_t ny) {
    Grid grid = {nx, ny, *at, *at + nx, *at + nx + ny};
    *at += nx + ny + nx * ny;
    return grid;
}

/* The order of `engine.py`'s `_integers` and `_floats`. */
static Pool pool_from(const int64_t *n, const double *f) {
    Pool pool = {
        .replicas = n[0], .role = n[1], .send_ns = n[2], .read_ns_per_token = n[3], .max_seqs = n[4],
        .max_step_tokens = n[5], .n_blocks = n[6], .block_tokens = n[7], .prefixes = n[8], .mixed = n[9],
        .order = n[10], .draft_tokens = n[11], .scales = n[12], .least = n[13], .target_load = n[14],
        .interval_ns = n[15], .startup_ns = n[16], .cooldown_ns = n[17], .limits = n + 30, .low_since_ns = -1,
        .send_ns_per_token = f[0],
    };
    Table *table = &pool.table;
    table->prompt_w = f[1];
    table->idle_w = f[2];
    table->groups = n[28];
    pool.max_chunk_tokens = n[29];
    f += 3;
    table->n_tokens = n[18];
    table->n_rows = n[19];
    table->tokens_ns = f;
    table->rows_ns = (f += n[18]);
    table->floor_ns = (f += n[19]);
    f += n[21];
    table->decode = grid_from(&f, n[20], n[21]);
    table->mixed = grid_from(&f, n[20], n[21]);
    table->prompt = grid_from(&f, n[22], n[23]);
    table->alone = grid_from(&f, n[22], n[23]);
    table->factor = grid_from(&f, n[24], n[25]);
    table->watts = grid_from(&f, n[26], n[27]);
    return pool;
}

static int begin(World *w, const int64_t *failures, int64_t n_failures) {
    for (int64_t p = 0; p < w->n_pools; p++) w->n_replicas += w->pools[p].replicas;
    w->replicas = calloc((size_t)w->n_replicas, sizeof(Replica));
    if (!w->replicas) return 0;
    int32_t number = 0;
    for (int64_t p = 0; p < w->n_pools; p++) {
        Pool *pool = w->pools + p;
        pool->first = number;
        for (int64_t i = 0; i < pool->replicas; i++, number++) {
            Replica *r = w->replicas + number;
            r->pool = pool;
            r->number = number;
            cache_init(&r->cache, pool->n_blocks, pool->block_tokens, (int)pool->prefixes);
        }
    }
    for (int64_t p = 0; p < w->n_pools; p++) {
        Pool *pool = w->pools + p;
        for (int64_t i = 0; i < (pool->scales ? pool->least : pool->replicas); i++)
            come_up(w, w->replicas + pool->first + i);
    }
    int fine = 1;
    for (int64_t i = 0; i < n_failures; i++)
        fine &= heap_push(&w->heap, (Coming){.time_ns = failures[3 * i], .sequence = w->sequence++, .what = FAILING,
                                             .replica = (int32_t)failures[3 * i + 1], .request = failures[3 * i + 2]});
    for (int64_t p = 0; p < w->n_pools; p++)
        if (w->pools[p].scales)
            fine &= heap_push(&w->heap, (Coming){.time_ns = w->pools[p].interval_ns, .sequence = w->sequence++,
                                                 .what = SCALING, .replica = NOBODY, .request = p});
    if (w->sample_ns) schedule(w, w->sample_ns, SAMPLING, NULL, NULL);
    read_source(w);
    return fine && !w->out_of_memory;
}

static int simulate(Run *run) {
    World *w = &run->world;
    for (int64_t instants = 0; w->inside && !w->law; instants++) {
        if (run->python_failed) return 0;
        if (w->out_of_memory) {
            PyErr_NoMemory();
            return 0;
        }
        if (!w->heap.count) {
            w->law = 27;
            break;
        }
        instant(w);
        if (!flush(run, MOST_FINISHED, MOST_EVENTS)) return 0;
        if (instants % INSTANTS_PER_LOOK == 0 && PyErr_CheckSignals()) return 0;
    }
    if (run->python_failed) return 0;
    for (int64_t i = 0; i < w->n_replicas; i++)
        if (w->replicas[i].state != IS_OFF) switch_off(w, w->replicas + i);
    if (!w->law && (w->arrived != w->done + w->rejected || w->n_jobs)) w->law = 24;
    return flush(run, 0, 0);
}

static PyObject *result_of(const World *w) {
    PyObject *sums = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((size_t)w->n_replicas * sizeof(Sums)));
    if (!sums) return NULL;
    char *at = PyBytes_AsString(sums);
    for (int64_t i = 0; i < w->n_replicas; i++) memcpy(at + (size_t)i * sizeof(Sums), &w->replicas[i].sums, sizeof(Sums));
    return Py_BuildValue("(NLLLLLi)", sums, (long long)w->start_ns, (long long)w->now_ns, (long long)w->arrived,
                         (long long)w->done, (long long)w->rejected, w->law);
}

static void end(Run *run) {
    World *w = &run->world;
    if (run->has_chunk) PyBuffer_Release(&run->chunk);
    for (int64_t i = 0; w->replicas && i < w->n_replicas; i++) {
        Replica *r = w->replicas + i;
        cache_free(&r->cache);
        free(r->waiting.items);
        free(r->running.items);
        free(r->parked.items);
        free(r->rows.items);
    }
    for (int64_t i = 0; i < w->blocks_of_jobs.count; i++) {
        Job *jobs = w->blocks_of_jobs.items[i];
        for (int j = 0; j < JOBS_AT_ONCE; j++) free(jobs[j].later);
        free(jobs);
    }
    void *lists[] = {w->replicas, w->pools, w->heap.items, w->blocks_of_jobs.items, w->unrouted.items, w->unsent.items,
                     w->scratch.items, w->touched.items, w->finished.items, w->events.items};
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) free(lists[i]);
}

static int read_pools(World *w, PyObject *pools, Py_buffer *buffers) {
    for (int64_t p = 0; p < w->n_pools; p++) {
        PyObject *ints, *floats, *pair = PyTuple_GetItem(pools, (Py_ssize_t)p);
        if (!pair || !PyArg_ParseTuple(pair, "OO", &ints, &floats)) return 0;
        if (PyObject_GetBuffer(ints, buffers + 2 * p, PyBUF_SIMPLE)) return 0;
        if (PyObject_GetBuffer(floats, buffers + 2 * p + 1, PyBUF_SIMPLE)) return 0;
        w->pools[p] = pool_from(buffers[2 * p].buf, buffers[2 * p + 1].buf);
    }
    return 1;
}

PyDoc_STRVAR(run_doc, "run(fleet, pools, tiers, failures, seed, source, finished, events)\n--\n\n"
                      "Simulate to the end; see takt.serving.fast.run, the only caller.");

static PyObject *run_simulation(PyObject *Py_UNUSED(self), PyObject *args) {
    Run run = {0};
    World *w = &run.world;
    Py_buffer fleet, tiers, failures;
    PyObject *pools, *result = NULL;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "y*O!y*y*KOOO", &fleet, &PyTuple_Type, &pools, &tiers, &failures, &seed, &run.source,
                          &run.finished, &run.events))
        return NULL;
    const int64_t *n = fleet.buf;
    w->router = n[0];
    w->imbalance = n[1];
    w->concurrency = n[2];
    w->sample_ns = n[3];
    w->entry_ns = n[4];
    w->tiers = tiers.buf;
    w->seed = seed;
    w->start_ns = -1;
    w->wants_events = run.events != Py_None;
    w->more = more_requests;
    w->n_pools = PyTuple_Size(pools);
    w->pools = calloc((size_t)w->n_pools, sizeof(Pool));
    Py_buffer *buffers = calloc((size_t)w->n_pools * 2, sizeof(Py_buffer));
    if (!w->pools || !buffers) PyErr_NoMemory();
    else if (read_pools(w, pools, buffers)) {
        if (!begin(w, failures.buf, failures.len / 24)) {
            if (!run.python_failed) PyErr_NoMemory();
        } else if (simulate(&run)) result = result_of(w);
    }
    end(&run);
    for (int64_t p = 0; buffers && p < 2 * w->n_pools; p++)
        if (buffers[p].obj) PyBuffer_Release(buffers + p);
    free(buffers);
    PyBuffer_Release(&fleet);
    PyBuffer_Release(&tiers);
    PyBuffer_Release(&failures);
    return result;
}

static PyMethodDef methods[] = {{"run", run_simulation, METH_VARARGS, run_doc}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "The event simulation of takt.serving at native speed.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module); }
